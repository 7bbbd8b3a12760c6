"""The shipped sinabs network on the emulator: how often it answers as sinabs did, and the parts of that measurement."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("nir", reason="needs the package nir")

from nir_helpers import chain, imported, lif, linear

from bcall_hw.backend.emulator.profile import BoardProfile
from bcall_hw.errors import CorruptFile, InvalidValue
from bcall_hw.experiments import nir_agreement
from bcall_hw.experiments.nir_agreement import Reference, digits, measure, run_emulated, simulate_lif, spike_trains
from bcall_hw.mapper import map_network
from bcall_hw.nir_import import ImportSettings, import_nir

DATA = Path(__file__).resolve().parent / "data"
NIR, REFERENCE = DATA / "digits_lif.nir", DATA / "digits_lif.npz"
DOCS = DATA.parent.parent / "docs"


def test_emulated_network_answers_as_sinabs_did_on_300_held_out_images() -> None:
    """The bar of 85 % is set by the task; the float steps show that what is lost is lost on the chip's circuits."""
    assert len(Reference.load(REFERENCE).counts) == 300
    rows = {row.step[:3]: row for row in measure(NIR, REFERENCE, seeds=())}
    assert rows["(c)"].agreement >= 0.85
    assert rows["(c)"].correlation > 0.9
    assert rows["(a)"].agreement >= 0.98
    assert rows["(b)"].agreement >= 0.98
    slow = next(row for name, row in rows.items() if name == "(b'")
    assert abs(slow.output_rate - rows["(c)"].output_rate) < 0.15  # the chip's loss of spikes is that of its synapses
    assert abs(rows["(c)"].accuracy - rows["fra"].accuracy) < 0.05


def test_table_of_the_docs_is_what_is_measured_without_mismatch() -> None:
    rows = {row.step: row for row in measure(NIR, REFERENCE, seeds=(0,), images=None)}
    lines = {
        line.split("|")[1].strip(): line for line in (DOCS / "nir_import.md").read_text().splitlines() if line.startswith("| (")
    }
    for step, row in rows.items():
        if step in lines and not step.startswith("(d)"):
            assert f"| {row.agreement:.1%} | {row.accuracy:.1%} |" in lines[step]
    assert "(c) emulator, no mismatch" in lines
    assert f"{rows['(d) emulator, CV 0.20, seed 0'].agreement:.1%}" in lines["(d) emulator, CV 0.20, seed 0"]


def test_coarser_levels_cost_what_step_b_shows() -> None:
    fine, coarse = (measure(NIR, REFERENCE, ImportSettings(dt_s=1e-3, levels=k), images=60, seeds=()) for k in (4, 1))
    by_step = [{row.step[:3]: row for row in rows} for rows in (fine, coarse)]
    assert by_step[0]["(a)"] == by_step[1]["(a)"]
    assert by_step[1]["(b)"].correlation < by_step[0]["(b)"].correlation


def test_simulator_is_the_equation_one_neuron_at_a_time() -> None:
    random = np.random.default_rng(1)
    weights, tau = random.normal(3.0, 4.0, (4, 5)), 12.0
    spikes = random.random((2, 60, 5)) < 0.3
    for reset, floor in (("rest", 0.0), ("subtract", -math.inf)):
        wanted = np.zeros((2, 4), dtype=int)
        for image, neuron in np.ndindex(2, 4):
            v = 0.0
            for step in range(60):
                drive = sum(weights[neuron, k] for k in range(5) if spikes[image, step, k])
                # the exact solution of tau dv/dt = drive - v over one step
                v = max(drive + (v - drive) * math.exp(-1.0 / tau), floor)
                if v >= 1.0:
                    wanted[image, neuron] += 1
                    v = v - 1.0 if reset == "subtract" else 0.0
        assert wanted.sum() > 20
        assert (simulate_lif([(weights, tau)], spikes, reset, floor)[0] == wanted).all()  # type: ignore[arg-type]


def test_synapses_of_the_simulator_carry_the_same_charge_and_are_rectified() -> None:
    """With a threshold out of reach nothing fires; the drive that arrives in all is weights times spikes."""
    spikes = np.zeros((1, 400, 1), dtype=bool)
    spikes[0, 0] = True
    for tau_syn in (None, 5.0):
        size = next(
            w for w in np.geomspace(1, 1000, 2000) if simulate_lif([(np.array([[w]]), 20.0)], spikes, tau_syn=tau_syn)[0][0, 0]
        )
        gain = 1.0 - math.exp(-1 / 20)
        beta, alpha = (0.0 if tau_syn is None else math.exp(-1 / tau_syn)), math.exp(-1 / 20)
        peak, v, i = 0.0, 0.0, 1.0 - beta
        for _ in range(100):
            v = alpha * v + gain * i
            i *= beta
            peak = max(peak, v)
        assert size == pytest.approx(1 / peak, rel=5e-3)
    both = np.zeros((1, 60, 2), dtype=bool)
    both[0, 30:, 0] = both[0, :, 1] = True
    weights = np.array([[100.0, -50.0]])
    free, held = (simulate_lif([(weights, 20.0)], both, "rest", -math.inf, rectified=flag)[0][0, 0] for flag in (False, True))
    assert held == 30
    assert free < held


def test_counts_belong_to_their_image_however_many_runs() -> None:
    """Silent images count nothing, and a run that is cut in two gives the counts of images alone on a fresh board."""
    found = imported(chain(linear(np.full((2, 3), 12.0)), lif(2)))
    mapped = map_network(found.network, "dynapse1")
    spikes = np.zeros((3, 100, 3), dtype=bool)
    spikes[1, ::5] = True
    counts = run_emulated(mapped, spikes, 1e-3, BoardProfile())["n1"]
    assert counts[[0, 2]].tolist() == [[0, 0], [0, 0]]
    assert counts[1].min() >= 5
    alone = run_emulated(mapped, spikes[1:2], 1e-3, BoardProfile())["n1"]
    assert alone.tolist() == counts[1:2].tolist()
    many = np.repeat(spikes[1:2], 700, axis=0)  # 60 events each: more than one stimulus list holds
    assert many.sum() > 32_767
    every = run_emulated(mapped, many, 1e-3, BoardProfile(), rest_s=0.05)["n1"]
    assert np.abs(every - counts[1]).max() <= 1


def test_trains_are_drawn_anew_for_each_image_and_only_for_active_pixels() -> None:
    images, _ = digits("test", 20)
    spikes = spike_trains(images, 200, 0.1, 0, "test")
    assert not spikes[:, :, :][~np.repeat(images[:, None], 200, axis=1)].any()
    assert spikes.sum() / (images.sum() * 200) == pytest.approx(0.1, rel=0.05)
    assert (spike_trains(images[:2], 200, 0.1, 0, "test") == spikes[:2]).all()
    assert (spike_trains(images[:2], 200, 0.1, 0, "train") != spikes[:2]).any()


def test_only_chains_of_lif_are_measured_and_files_are_checked(tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match="chain of LIF"):
        nir_agreement._chain(imported(chain(linear(np.eye(2, 3)), lif(2), lif(2))).layers[::-1], 1e-3, False)
    for content in (b"", b"PK\x03\x04", b"nothing"):
        (tmp_path / "a.npz").write_bytes(content)
        with pytest.raises(CorruptFile):
            Reference.load(tmp_path / "a.npz")


def test_settings_were_not_changed_since_the_docs(capsys: pytest.CaptureFixture[str]) -> None:
    found = import_nir(NIR, ImportSettings(dt_s=1e-3))
    assert [f"{layer.scale.tau_s * 1e3:.2f} ms, {layer.scale.unit_a * 1e12:.0f} pA" for layer in found.layers] == [
        "1.84 ms, 77 pA"
    ] * 2
    nir_agreement.main([str(NIR), str(REFERENCE), "--images", "5"])
    assert "(c) emulator, no mismatch" in capsys.readouterr().out


def test_spikes_that_nobody_stored_are_not_said_to_be_none(capsys: pytest.CaptureFixture[str]) -> None:
    rows = measure(NIR, REFERENCE, images=2, seeds=())
    assert rows[0].hidden_rate is None
    assert all(row.hidden_rate is not None for row in rows[1:])
    nir_agreement.main([str(NIR), str(REFERENCE), "--images", "2"])
    assert "| not stored |" in capsys.readouterr().out.splitlines()[2]
    nir_agreement.main([str(NIR), str(REFERENCE), "--images", "2", "--json"])
    assert json.loads(capsys.readouterr().out)[0]["hidden_rate"] is None
