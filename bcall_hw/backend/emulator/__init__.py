"""The emulator: registers in, spikes out, in integers. Entry point: `bcall_hw.backend.open_backend("emulator")`."""
