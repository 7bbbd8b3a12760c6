"""A whole board through samna's objects and its JSON, and back."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_contract_chip_config import random_registers

from bcall_hw.chip_config import BIAS_DTYPE, CAM_DTYPE, SRAM_DTYPE, ChipConfig
from bcall_hw.chip_model import ChipModel

pytestmark = pytest.mark.samna

PROGRAM = Path(__file__).with_name("samna_json.py")
SECONDS = 120
SRAM_FIELDS = ("virtual_core", "sy", "dy", "sx", "dx", "core_mask")
SAMNA_NAMES = {"virtual_core": "virtualCoreId", "core_mask": "coreMask"}


def in_order(node: Any) -> list[Any]:
    """The elements of one of the JSON's lists, which may be written as value0, value1, ..."""
    return node if isinstance(node, list) else [node[f"value{k}"] for k in range(len(node))]


@pytest.fixture(scope="module")
def config(chip: ChipModel) -> ChipConfig:
    """A whole board of random registers, of those that samna has: range bits high, first leak."""
    rng = np.random.default_rng(2026)
    start = ChipConfig.after_opening(chip, range(chip.geometry.chips))
    biases = random_registers(rng, chip.words["bias"], start.biases.shape, BIAS_DTYPE)
    biases["high"] = 1
    return start.with_registers(
        cam=random_registers(rng, chip.words["cam"], start.cam.shape, CAM_DTYPE),
        sram=random_registers(rng, chip.words["sram"], start.sram.shape, SRAM_DTYPE),
        biases=biases,
    )


def test_whole_board_goes_through_samnas_objects_and_json(chip: ChipModel, config: ChipConfig, tmp_path: Path) -> None:
    names = sorted(bias.name for bias in chip.biases)
    order = [chip.bias_index(name) for name in names]
    columns = [config.cam[name] for name in CAM_DTYPE.names or ()]
    parts = [
        np.stack(columns, axis=-1).ravel(),
        np.stack([config.sram[name] for name in SRAM_FIELDS], axis=-1).ravel(),
        np.stack([config.biases[name][:, :, order] for name in ("coarse", "fine")], axis=-1).ravel(),
    ]
    registers, output = tmp_path / "registers", tmp_path / "board.json"
    registers.write_bytes(np.concatenate(parts).astype("<u2").tobytes())
    command = [sys.executable, str(PROGRAM), str(registers), str(output)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 0, done.stderr
    assert image_of(chip, json.loads(output.read_text()), names) == config


def image_of(chip: ChipModel, text: Any, names: list[str]) -> ChipConfig:
    """The registers that samna's JSON holds."""
    start = ChipConfig.after_opening(chip, range(chip.geometry.chips))
    cam, sram, biases = start.cam.copy(), start.sram.copy(), start.biases.copy()
    for c, one in enumerate(in_order(text["value0"]["chips"])):
        for k, core in enumerate(in_order(one["cores"])):
            rows = [
                (s["listenCoreId"], s["listenNeuronId"], s["synType"])
                for neuron in in_order(core["neurons"])
                for s in in_order(neuron["synapses"])
            ]
            cam[c, k] = np.array(rows, dtype=CAM_DTYPE).reshape(cam.shape[2:])
            usable = [in_order(neuron["destinations"])[1:] for neuron in in_order(core["neurons"])]
            for name in SRAM_FIELDS:
                sram[name][c, k] = [[int(entry[SAMNA_NAMES.get(name, name)]) for entry in neuron] for neuron in usable]
            group = core["parameterGroup"]
            parameters = {item["value"]["paramName"]: item["value"] for item in group["paramMap"]}
            for name in names:
                code = parameters[name]
                biases[c, k, chip.bias_index(name)] = (code["coarseValue"], code["fineValue"], 1)
    return start.with_registers(cam=cam, sram=sram, biases=biases)
