"""With the real sinabs: train a little, export, import; and what its export leaves out. Skipped by name without it."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

if importlib.util.find_spec("torch") is None or importlib.util.find_spec("sinabs") is None:
    pytest.skip("needs the extra [sinabs]: torch, sinabs and nir", allow_module_level=True)

import nir
import sinabs.layers as sl
import torch
from sinabs.nir import to_nir

from bcall_hw.errors import InvalidValue
from bcall_hw.experiments.nir_agreement import Reference, digits, simulate_lif, spike_trains
from bcall_hw.nir_import import ImportSettings, import_nir

ROOT = Path(__file__).resolve().parent.parent
pytestmark = pytest.mark.filterwarnings("ignore:nirtorch.extract_nir_graph:DeprecationWarning")  # sinabs 3.1.3 calls it
STEPS = ImportSettings(dt_s=1e-3)


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("train_digits_lif", ROOT / "scripts" / "train_digits_lif.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_a_little_training_is_exported_and_imported(script: ModuleType, tmp_path: Path) -> None:
    training = replace(script.Training(), epochs=1, steps=20)
    images, labels = digits("train", 70)
    net = script.train(training, torch.tensor(images, dtype=torch.float32), torch.tensor(labels))
    script.export(net, training, tmp_path / "small.nir")
    found = import_nir(tmp_path / "small.nir", STEPS)
    assert [p.size for p in found.network.populations] == [100, 10]
    assert [layer.tau_s for layer in found.layers] == pytest.approx([0.02, 0.02])
    for linear, layer in zip((net[0], net[2]), found.layers, strict=True):
        assert layer.weights == pytest.approx(linear.weight.detach().numpy(), abs=1e-6)
        assert layer.quantised.relative_rms == pytest.approx(0.0, abs=1e-6)  # it was trained on the grid
        assert layer.quantised.entries.max() <= training.entries
    spikes = spike_trains(images[:20], 100, 0.1, 3, "sinabs")
    mine = simulate_lif([(layer.weights, 20.0) for layer in found.layers], spikes)[-1]
    assert (mine == script.answers(net, spikes, training)).mean() > 0.99


def test_shipped_answers_are_those_of_the_shipped_file(script: ModuleType) -> None:
    training = script.Training()
    net, file = script.model(training), nir.read(ROOT / "tests" / "data" / "digits_lif.nir", **_unchecked())
    weights = [node.weight for node in file.nodes.values() if isinstance(node, nir.Affine)]
    with torch.no_grad():
        for linear, weight in zip((net[0], net[2]), weights, strict=True):
            linear.weight.copy_(torch.tensor(np.asarray(weight)))
    reference = Reference.load(ROOT / "tests" / "data" / "digits_lif.npz")
    images, _ = digits("test", 30)
    spikes = spike_trains(images, reference.steps, reference.probability, reference.seed, "test")
    assert (script.answers(net, spikes, training) == reference.counts[:30]).mean() > 0.99


def _unchecked() -> dict[str, Any]:
    import inspect

    return {"type_check": False} if "type_check" in inspect.signature(nir.read).parameters else {}


def exported(*layers: torch.nn.Module, sample: torch.Tensor | None = None) -> Any:
    return to_nir(torch.nn.Sequential(*layers), torch.zeros(5, 4) if sample is None else sample)


def test_what_sinabs_does_not_export_is_known() -> None:
    """tau_syn, min_v_mem, norm_input and the reset leave no trace: the two files are the same."""
    plain, rich = (
        import_nir(exported(torch.nn.Linear(4, 3, bias=False), sl.LIFSqueeze(batch_size=1, tau_mem=20.0, **more)), STEPS)
        for more in ({}, {"tau_syn": 5.0, "min_v_mem": 0.0, "norm_input": False})
    )
    for found in (plain, rich):
        assert [(layer.kind, layer.tau_s) for layer in found.layers] == [("LIF", pytest.approx(0.02))]
        assert found.network.populations[0].neuron.synapses["AMPA"].tau_s == found.settings.tau_syn_s


def test_iaf_comes_as_if_and_expleak_is_refused() -> None:
    found = import_nir(exported(torch.nn.Linear(4, 3, bias=False), sl.IAFSqueeze(batch_size=1)), STEPS)
    assert found.layers[0].kind == "IF"
    with pytest.raises(InvalidValue, match="LI cannot be imported"):
        import_nir(exported(torch.nn.Linear(4, 3, bias=False), sl.ExpLeakSqueeze(batch_size=1, tau_mem=20.0)), STEPS)


def test_time_in_the_sample_is_told() -> None:
    """Without the Squeeze layers the time axis is taken for a part of the input's shape."""
    source = exported(torch.nn.Linear(4, 3, bias=False), sl.LIF(tau_mem=20.0), sample=torch.zeros(1, 5, 4))
    with pytest.raises(InvalidValue, match="Squeeze"):
        import_nir(source, STEPS)


def test_a_convolutional_model_comes_as_sinabs_computes_it() -> None:
    conv = torch.nn.Conv2d(1, 2, 3, bias=False)
    linear = torch.nn.Linear(8, 4, bias=False)
    layers = (conv, sl.IAFSqueeze(batch_size=1), sl.SumPool2d(2), torch.nn.Flatten(), linear, sl.IAFSqueeze(batch_size=1))
    found = import_nir(exported(*layers, sample=torch.zeros(5, 1, 6, 6)), STEPS)
    assert [p.size for p in found.network.populations] == [32, 4]
    image = (torch.rand(1, 1, 6, 6) < 0.5).float()
    gain = found.layers[0].scale.tau_s / 1e-3  # an IF's weights come times its soma's time constant in steps
    first = found.layers[0].weights @ image.numpy().ravel()
    assert first == pytest.approx(gain * conv(image).detach().numpy().ravel(), rel=1e-4, abs=1e-4)
    middle = (torch.rand(1, 2, 4, 4) < 0.5).float()
    wanted = linear(torch.nn.Flatten()(sl.SumPool2d(2)(middle))).detach().numpy().ravel()
    assert found.layers[1].weights @ middle.numpy().ravel() == pytest.approx(gain * wanted, rel=1e-4, abs=1e-4)
