"""The demo's network through the real samna on the virtual board: words, spikes, learning, stimuli."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pytest
from samna_oracle import Libcaer
from test_contract_chip_config import libcaers_words, random_registers

from bcall_hw.backend import Backend, open_backend
from bcall_hw.backend.emulator.profile import BoardProfile
from bcall_hw.backend.samna_board.board import SamnaBoard
from bcall_hw.backend.samna_board.virtual.board import VirtualBoard
from bcall_hw.backend.samna_board.virtual.build import stand_in_library
from bcall_hw.backend.samna_board.virtual.server import VirtualBoardServer, environment
from bcall_hw.chip_config import BIAS_DTYPE, CAM_DTYPE, KINDS, SRAM_DTYPE, ChipConfig, Words
from bcall_hw.chip_model import ChipModel
from bcall_hw.deploy import deploy
from bcall_hw.experiments.classifier import encode
from bcall_hw.experiments.dataset import load_dataset
from bcall_hw.experiments.presets import settings_for
from bcall_hw.experiments.training import ClassifierRun, map_classifier
from bcall_hw.stimulus import EVENT_DTYPE, Stimulus

pytestmark = [pytest.mark.samna, pytest.mark.usefixtures("virtual_board")]

PROFILE = BoardProfile(seed=7, mismatch_cv=0.2)
PRESENTATIONS = 50
SECONDS = 20
QUIET_S = 0.4


class Opened(NamedTuple):
    """A board that samna drives, and the virtual one behind it."""

    board: SamnaBoard
    device: VirtualBoard

    def received(self, at_least: int) -> Words:
        """The words so far; what is on its way is waited for, until none has come for a while."""
        until, seen, since = time.monotonic() + SECONDS, -1, 0.0
        while time.monotonic() < until:
            now = self.device.device.words_received
            if now != seen:
                seen, since = now, time.monotonic()
            elif now >= at_least and time.monotonic() - since > QUIET_S:
                break
            time.sleep(0.01)
        return self.device.device.received


@pytest.fixture
def opened(chip: ChipModel) -> Iterator[Opened]:
    device = VirtualBoard(chip, PROFILE)
    with VirtualBoardServer(device, "sleep") as server:
        board = SamnaBoard(None, chip, environment=environment(stand_in_library(), server.path))
        yield Opened(board, device)
        board.close()
        assert board.state == "closed"


#: Fields of a word that are a register's content; the others say which register it is.
CONTENT = {
    "cam": ("type", "source_core", "source_neuron"),
    "sram": ("virtual_core", "sy", "dy", "sx", "dx", "core_mask"),
    "bias": ("coarse", "fine", "high"),
    "tau2": ("chosen",),
}


def last_words(chip: ChipModel, words: Words) -> dict[int, int]:
    """What stands in each register at the end: number of the register -> word."""
    found: dict[int, int] = {}
    for number, kind in enumerate(KINDS):
        mine = words[words["kind"] == number]
        fields = chip.words[kind].fields  # type: ignore[index]
        content = sum(((1 << n) - 1) << low for name in CONTENT[kind] for low, n, _ in fields[name].segments)
        places = (mine["word"].astype(np.int64) & ~content) | mine["chip"].astype(np.int64) << 32 | number << 40
        found.update(zip(places.tolist(), mine["word"].tolist(), strict=True))
    return found


def random_image(chip: ChipModel, chips: tuple[int, ...], seed: int) -> ChipConfig:
    """Random registers that samna can write."""
    rng = np.random.default_rng(seed)
    start = ChipConfig.after_opening(chip, chips)
    biases = random_registers(rng, chip.words["bias"], start.biases.shape, BIAS_DTYPE)
    biases["high"] = 1
    return start.with_registers(
        cam=random_registers(rng, chip.words["cam"], start.cam.shape, CAM_DTYPE),
        sram=random_registers(rng, chip.words["sram"], start.sram.shape, SRAM_DTYPE),
        biases=biases,
        tau2=rng.integers(0, 2, start.tau2.shape).astype(bool),
    )


def assert_written(opened: Opened, config: ChipConfig) -> None:
    """The words that came leave what the configuration says, in the virtual board, in samna's copy, and word by word."""
    device = opened.device.device
    assert device.unknown_words == 0
    assert device.config.of_chips(config.chips) == config
    assert opened.board.read_back() == config
    cleared = ChipConfig.after_opening(config.chip, config.chips)
    on_board = last_words(config.chip, cleared.words()) | last_words(config.chip, device.received)
    wanted = last_words(config.chip, config.words())
    assert {place: on_board[place] for place in wanted} == wanted


def test_opening_silences_every_core_and_leaves_no_register_unknown(opened: Opened, chip: ChipModel) -> None:
    cores = chip.geometry.chips * chip.geometry.cores
    words = opened.received(cores * len(chip.biases))
    found = last_words(chip, words)
    assert set(words["kind"].tolist()) == {KINDS.index("bias")}
    assert len(found) == cores * len(chip.biases)
    leaks = {a for role in ("leak1", "leak2") for a in chip.biases[chip.bias_index(role)].addresses}
    codes = chip.words["bias"].unpack(list(found.values()))
    for address, coarse, fine, high in zip(*(codes[n].tolist() for n in ("address", "coarse", "fine", "high")), strict=True):
        assert (coarse, fine, high) == ((5, 255, 1) if address in leaks else (0, 0, 1))


def test_demos_network_word_by_word_and_spike_by_spike(opened: Opened, chip: ChipModel, libcaer: Libcaer) -> None:
    settings, data = settings_for("error-triggered"), load_dataset("digits")
    mapped = map_classifier(settings, data, chip, 3)
    emulator = open_backend("emulator", chip=chip, chips=mapped.config.chips, profile=PROFILE)
    at_opening = len(opened.received(0))
    announced = opened.board.preview(mapped.config)
    result = deploy(mapped.config, opened.board)
    came = opened.received(at_opening + len(announced))[at_opening:]
    assert result["read_back_equal"]
    assert result["words_written"] == len(announced) == len(came)
    assert np.array_equal(np.sort(came), np.sort(announced))
    assert_written(opened, mapped.config)
    for kind, made in libcaers_words(mapped.config, libcaer).items():  # every word once more, from libcaer's own generators
        sent = came["word"][came["kind"] == KINDS.index(kind)]
        assert np.isin(sent, made).all()
    emulator.apply(mapped.config)
    for k, image in enumerate(data.test[:6]):
        stimulus = mapped.stimulus(encode(settings, image, settings.test_s, 3, f"image {k}"))
        ours, theirs = (backend.run(stimulus, settings.test_s) for backend in (opened.board, emulator))
        assert len(theirs) > 0 or k == 0
        assert ours.sha256 == theirs.sha256
    assert opened.board.warnings == []


def test_learning_in_the_loop_leaves_the_same_cam_and_saw_the_same_spikes(opened: Opened, chip: ChipModel) -> None:
    settings, data = (
        settings_for("error-triggered").model_copy(update={"epochs": 1}),
        load_dataset("digits").first(PRESENTATIONS),
    )
    mapped = map_classifier(settings, data, chip, 5)

    def learned(backend: Backend) -> ClassifierRun:
        run = ClassifierRun(settings, data, 5, backend, mapped)
        run.train()
        return run

    ours = learned(opened.board)
    theirs = learned(open_backend("emulator", chip=chip, chips=mapped.config.chips, profile=PROFILE))
    assert ours.loop.flips > 500
    assert ours.loop.config.cam_sha256 == theirs.loop.config.cam_sha256
    assert opened.device.device.config.of_chips(mapped.config.chips) == theirs.loop.config
    assert ours.loop.spikes_sha256 == theirs.loop.spikes_sha256
    assert ours.loop.spikes_read == theirs.loop.spikes_read > 0


@pytest.mark.parametrize("seed", [1, 2])
def test_random_images_of_the_whole_board_one_after_the_other(opened: Opened, chip: ChipModel, seed: int) -> None:
    """Every register changes at once, then a few, then other chips alone; each time the board holds what was asked for."""
    everything = random_image(chip, tuple(range(chip.geometry.chips)), seed)
    before = len(opened.received(0))
    for config in (everything, with_few_changes(everything, seed), random_image(chip, (1, 2), seed + 10)):
        announced = opened.board.preview(config)
        assert opened.board.apply(config) == len(announced)
        came = opened.received(before + len(announced))[before:]
        assert np.array_equal(np.sort(came), np.sort(announced))
        before += len(announced)
        assert_written(opened, config)
    assert opened.board.apply(config) == 0


def with_few_changes(config: ChipConfig, seed: int) -> ChipConfig:
    """The image with a hundred CAM entries, some destinations and biases changed, and leak choices back and forth."""
    rng = np.random.default_rng(seed)
    cam, sram, biases, tau2 = (getattr(config, name).copy() for name in ("cam", "sram", "biases", "tau2"))
    for array, field in ((cam, "source_neuron"), (sram, "core_mask"), (biases, "fine")):
        flat = array.reshape(-1)
        flat[field][rng.choice(flat.size, 100, replace=False)] ^= 1
    cam[0, 1, 2, 3] = (0, 0, 2)  # what samna's copy held after opening
    tau2[0, 0, :5] ^= True
    return config.with_registers(cam=cam, sram=sram, biases=biases, tau2=tau2)


def test_entry_as_samnas_copy_holds_it_after_opening_is_written_all_the_same(opened: Opened, chip: ChipModel) -> None:
    """samna writes what differs from its copy, which differs from the chip: such an entry takes a detour."""
    start = ChipConfig.after_opening(chip, (0,))
    cam, biases, entry = start.cam.copy(), start.biases.copy(), chip.cam.samna_copy
    cam[0, 0, 5, :3] = (entry.source_core, entry.source_neuron, entry.type)
    biases["high"] = 1
    config = start.with_registers(cam=cam, biases=biases)
    before = len(opened.received(0))
    opened.received(before + opened.board.apply(config))
    assert_written(opened, config)


def test_sync_writes_everything_again(opened: Opened, chip: ChipModel) -> None:
    """The board forgets everything behind samna's back; sync brings it back."""
    config = random_image(chip, (0, 3), 5)
    before = len(opened.received(0))
    before = len(opened.received(before + opened.board.apply(config)))
    device = opened.device.device
    device.power_on()
    device.forget_received()
    written = opened.board.sync()
    assert len(opened.received(before + written)) == written
    assert_written(opened, config)


def test_stimulus_words_on_the_wire(opened: Opened, chip: ChipModel) -> None:
    """As many events as the memory holds, every field random: words, intervals, count and unit as they should be."""
    biases = ChipConfig.after_opening(chip, range(4)).biases.copy()
    biases["high"], biases["coarse"], biases["fine"] = 1, 0, 0
    opened.board.apply(ChipConfig.after_opening(chip, range(4)).with_registers(biases=biases))
    rng, limits = np.random.default_rng(8), chip.stimulus
    events = np.zeros(limits.max_events, dtype=EVENT_DTYPE)
    events["isi"] = rng.integers(0, 200, len(events))
    events["isi"][17] = limits.max_isi
    events["chip"], events["tag"] = rng.integers(0, 4, len(events)), rng.integers(0, limits.sources, len(events))
    events["core_mask"] = rng.integers(1, 16, len(events))
    stimulus = Stimulus(chip, events, isi_base=90)
    opened.board.run(stimulus, float(np.ceil(stimulus.times_us[-1] + 1) * 1e-6))
    generator = opened.device.device.generator
    tag = events["tag"].astype(np.int64)
    expected = events["chip"].astype(np.int64) << 14 | (tag & 255) << 6 | tag >> 8 << 4 | events["core_mask"].astype(np.int64)
    assert np.array_equal(generator.memory[0 : 2 * len(events) : 2], expected)
    assert np.array_equal(generator.memory[1 : 2 * len(events) : 2], events["isi"])
    assert (generator.count, generator.isi_base, generator.variable_isi, generator.repeat) == (len(events) - 1, 90, True, False)


def test_poisson_rates_arrive_as_the_step_that_is_meant(opened: Opened, chip: ChipModel) -> None:
    start = ChipConfig.after_opening(chip, (2,))
    biases = start.biases.copy()
    biases["high"] = 1
    biases["coarse"] = biases["fine"] = 0
    opened.board.apply(start.with_registers(biases=biases))
    rng = np.random.default_rng(3)
    rates = rng.uniform(0.1, chip.poisson.max_hz, chip.stimulus.sources)
    rates[rng.integers(0, rates.size, 50)] = 0.0
    rates[3] = chip.poisson.max_hz
    rates[4] = 77 * chip.poisson.step_hz
    stimulus = Stimulus(chip, np.zeros(0, dtype=EVENT_DTYPE), 1, rates, 2, 15)
    opened.board.run(stimulus, 0.001)
    assert np.allclose(opened.device.device.poisson_rates_hz, stimulus.poisson_played_hz, rtol=1e-12)
    opened.board.run(Stimulus(chip), 0.001)
    assert not opened.device.device.poisson_rates_hz.any()
