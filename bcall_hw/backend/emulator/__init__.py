"""The emulator: registers in, spikes out, in integers. Entry point: `bcall_hw.backend.open_backend("emulator")`.

`emulator.py` checks at the door and has one engine behind it (`engine.py`): arrays (`array_engine.py` with `step_numba.py` or
`step_numpy.py`; `decode.py` and `routing.py` turn registers into them) or the scalar `reference.py`. `profile.py` is what one
board differs in, `boards.py` runs many. All of it follows `docs/emulator_specification.md`.
"""
