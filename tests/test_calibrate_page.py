"""The report page of a calibration and its tables, from outcomes made by hand."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from calibration_helpers import measured as record_with

from bcall_hw import report
from bcall_hw.calibrate import page_figures
from bcall_hw.calibrate.findings import Jump
from bcall_hw.calibrate.page import write_page
from bcall_hw.calibrate.reasons import EXCLUDED, FAILED
from bcall_hw.calibrate.run import Outcome
from bcall_hw.calibrate.summary import by_quantity, left_out, percent, total_scale, why_failed, with_unit
from bcall_hw.calibration import Calibration, sealed
from bcall_hw.calibration_parts import Excluded, Gains, Measured, SecondLeak
from bcall_hw.chip_model import ChipModel
from bcall_hw.cli import show_calibration
from bcall_hw.failure_reasons import ExclusionReason, FailureReason
from bcall_hw.mapping import load_mapping

TARGETS = {"tau_s": (0.02, "s"), "AMPA.weight_a": (1e-11, "A")}
MISSED = FailureReason.HELD_OUT_MISSED
NASTY = "<script>alert('x')</script>&[bold]" + "w" * 46


class Parsed(HTMLParser):
    """Text, tables, marked cells and pictures of a page; tags that are not closed in order are a failure."""

    VOID = {"meta", "link", "img", "hr", "wbr"}

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tables: list[list[list[str]]] = []
        self.headings: list[str] = []
        self.marked: list[str] = []
        self.pictures: list[dict[str, str | None]] = []
        self.items: list[str] = []
        self.lead, self.text, self.scripts = "", "", 0
        self._cell, self._bad = "", False
        self.feed(path.read_text())
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th", "h2", "li", "p"):
            self._cell, self._bad = "", ("class", "bad") in attrs
        elif tag == "img":
            self.pictures.append(dict(attrs))
        self.scripts += tag == "script"

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "title"):
            self.text += data + " "
            self._cell += data

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        if tag in ("td", "th"):
            self.tables[-1][-1].append(self._cell)
            if self._bad:
                self.marked.append(self._cell)
        elif tag == "h2":
            self.headings.append(self._cell)
        elif tag == "li":
            self.items.append(self._cell)
        elif tag == "p" and not self.lead:
            self.lead = self._cell

    def table(self, first: str) -> dict[str, dict[str, str]]:
        """The table whose first head is `first`: rows by their first cell."""
        head, *rows = next(t for t in self.tables if t[0][0] == first)
        assert all(len(row) == len(head) for row in rows)
        return {row[0]: dict(zip(head, row, strict=True)) for row in rows}


def one(
    core: tuple[int, int],
    quantity: str,
    residual: float | None = 0.01,
    reason: FailureReason = FailureReason.NONE,
    **changes: Any,
) -> Measured:
    """A measurement whose interval is 1 % wide to each side."""
    target, unit = TARGETS.get(quantity, (0.003, "s"))
    value = None if residual is None else target * (1 + residual)
    known: dict[str, Any] = {}
    if value is not None:
        known = {
            "achieved": value, "residual": value / target - 1, "interval": (value * 0.99, value * 1.01), "spread_before": 0.3,
            "spread_after": 0.04,
        }  # fmt: skip
    fields = {"chip": core[0], "core": core[1], "quantity": quantity, "unit": unit, "target": target, "neurons": 256, **known}
    return Measured(**(fields | {"ok": reason is FailureReason.NONE, "reason": reason} | changes))


def gains(chip: ChipModel, core: tuple[int, int], quantity: str, values: Sequence[float | None] | None = None) -> Gains:
    drawn = np.exp(np.random.default_rng(0).normal(0, 0.2, chip.geometry.neurons)).tolist()
    gain = tuple(drawn if values is None else values)
    return Gains(chip=core[0], core=core[1], quantity=quantity, gain=gain, low=gain, high=gain)  # type: ignore[arg-type]


def outcome_of(found: Sequence[Measured], *, curves: bool = True, **changes: Any) -> Outcome:
    """An outcome with a record of these measurements."""
    cores = sorted({(m.chip, m.core) for m in found})
    rates = [(k * 1e-11, 10.0 * k, 12.0 * k, 15.0 * k) for k in range(1, 5)]
    return Outcome(
        record=sealed(record_with(measured=tuple(found), **changes)), measured=tuple(found),
        curves={core: list(rates) for core in cores} if curves else {}, board_s=171.25,
    )  # fmt: skip


def all_good(cores: Sequence[tuple[int, int]]) -> list[Measured]:
    return [one(core, quantity) for quantity in TARGETS for core in cores]


def page_of(tmp_path: Path, outcome: Outcome, chip: ChipModel) -> Parsed:
    write_page(tmp_path / "report.html", outcome, chip)
    return Parsed(tmp_path / "report.html")


def shown(outcome: Outcome, capsys: pytest.CaptureFixture[str]) -> str:
    show_calibration.show_outcome(outcome)
    return capsys.readouterr().out


def strict_json(outcome: Outcome) -> Any:
    """As a reader gets it that knows no NaN."""
    return json.loads(json.dumps(show_calibration.as_json(outcome), allow_nan=False))


@pytest.fixture(scope="module")
def whole(chip: ChipModel) -> Outcome:
    """All 16 cores with gains, one quantity of one core missed, one core lost, neurons and CAM entries bad."""
    cores = [(c, k) for c in range(4) for k in range(4)]
    found = []
    for quantity in TARGETS:
        for core in cores:
            if core == (3, 3):
                found.append(one(core, quantity, None, FailureReason.NO_SPIKES))
            elif (core, quantity) == ((0, 2), "AMPA.weight_a"):
                found.append(one(core, quantity, -0.052, MISSED))
            else:
                found.append(one(core, quantity, 0.001 * core[1]))
    found[0] = one((0, 0), "tau_s", 0.02, interval=(0.0204 * 0.95, 0.0204 * 1.01))
    return outcome_of(
        found, gains=tuple(gains(chip, core, quantity) for quantity in TARGETS for core in cores[:-1]),
        capacitance_scale={"soma": 0.5, "AMPA": 2.0}, core_scales=((0, 0, "tau_s", 1.2), (0, 0, "AMPA.weight_a", 1.5)),
        dead_neurons=((0, 1, 5), (2, 2, 9)), dead_cam=((0, 0, 1, 2), (0, 0, 1, 3), (1, 1, 7, 0)),
        stuck_tag_bits=((1, 2, 3, 4, 5, 1),),
        excluded=(
            Excluded(chip=0, core=1, neuron=5, reason=ExclusionReason.DEAD),
            Excluded(chip=0, core=1, neuron=6, reason=ExclusionReason.HOT),
            Excluded(chip=1, core=0, neuron=7, reason=ExclusionReason.OUTLIER),
        ),
        second_leak=(SecondLeak(chip=0, core=0, ratio=1.04, neurons=(1, 2, 3)),),
    )  # fmt: skip


@pytest.fixture(scope="module")
def whole_page(whole: Outcome, chip: ChipModel, tmp_path_factory: pytest.TempPathFactory) -> Parsed:
    return page_of(tmp_path_factory.mktemp("page"), whole, chip)


def test_the_lead_says_board_model_counts_time_and_that_no_chip_was_measured(whole_page: Parsed) -> None:
    for text in ("Board b7", "dynapse1", "29 of 32 calibrated", "3 failed", "171.2 s of board time", "no chip was measured"):
        assert text in whole_page.lead
    assert "Everything comes from spikes" in whole_page.text


@pytest.mark.parametrize(
    ("backend", "emulated"),
    [("emulator/numba", True), ("samna/0.7.1.0 (virtual board)", True), ("samna/0.7.1.0", False)],
)
def test_only_a_real_board_is_a_measured_one(tmp_path: Path, chip: ChipModel, backend: str, emulated: bool) -> None:
    page = page_of(tmp_path, outcome_of(all_good([(0, 0)]), backend=backend, curves=False), chip)
    assert ("no chip was measured" in page.lead) is emulated


def test_the_table_of_quantities(whole_page: Parsed) -> None:
    rows = whole_page.table("quantity")
    tau, weight = rows["tau_s"], rows["AMPA.weight_a"]
    assert tau["target"] == "20 ms"
    assert weight["target"] == "10 pA"
    assert tau["median of core medians"] == "20.04 ms"  # the eighth of fifteen
    assert tau["worst residual"] == "+2.00% (core 0/0)"
    assert weight["worst residual"] == "-5.20% (core 0/2)"
    assert tau["largest 95 % interval"] == "\u00b15.0% (core 0/0)"
    assert (tau["cores ok"], weight["cores ok"]) == ("15 of 16", "14 of 16")
    assert "no_spikes 1" in tau["failed"]
    assert "held_out_missed 1" in weight["failed"]


def test_residuals_of_every_core_mark_what_failed_and_why(whole_page: Parsed) -> None:
    rows = whole_page.table("core")
    assert list(rows) == [f"{c}/{k}" for c in range(4) for k in range(4)]
    assert rows["2/3"]["tau_s"] == "+0.30%"
    assert rows["0/2"]["AMPA.weight_a"] == "\u2717 -5.20% held_out_missed"
    assert rows["3/3"]["tau_s"] == "\u2717 no_spikes"
    assert rows["0/2"]["AMPA.weight_a"] in whole_page.marked
    assert not any("2/3" in text or text.startswith("+") for text in whole_page.marked)


def test_each_failure_is_a_sentence(whole: Outcome, whole_page: Parsed) -> None:
    sentences = why_failed(whole.measured)
    assert sentences[0] == f"all 2 quantities, on core 3/3: no_spikes: {FAILED[FailureReason.NO_SPIKES]}."
    assert sentences[1] == f"AMPA.weight_a, on core 0/2: held_out_missed: {FAILED[MISSED]}."
    assert set(sentences) <= set(whole_page.items)


def test_one_reason_everywhere_is_one_sentence() -> None:
    found = [one((0, k), q, None, FailureReason.BUDGET) for q in TARGETS for k in range(3)]
    assert why_failed(found) == [f"all 2 quantities, on all 3 cores: budget: {FAILED[FailureReason.BUDGET]}."]


def test_every_reason_has_a_sentence_of_its_own() -> None:
    for sentences, reasons in ((FAILED, FailureReason), (EXCLUDED, ExclusionReason)):
        assert set(sentences) == set(reasons)
        assert len(set(sentences.values())) == len(sentences)  # type: ignore[attr-defined]


def test_pictures_are_embedded_and_the_page_needs_nothing_else(whole_page: Parsed) -> None:
    captions = [str(picture["alt"]) for picture in whole_page.pictures]
    assert all(str(picture["src"]).startswith("data:image/png;base64,") for picture in whole_page.pictures)
    for start in ("tau_s, before and after", "AMPA.weight_a, before and after", "Rate under a constant current", "The board"):
        assert sum(caption.startswith(start) for caption in captions) == 1
    assert len(captions) == 4


def test_what_is_left_out(whole: Outcome, whole_page: Parsed) -> None:
    rows = whole_page.table("what")
    assert rows["neurons, dead"]["how many"] == "2"  # one of them is excluded as dead too
    assert rows["neurons, hot"]["how many"] == rows["neurons, outlier"]["how many"] == "1"
    assert rows["neurons, in all"]["how many"] == "4"
    assert rows["CAM entries, dead or unclear"]["how many"] == "3"
    assert rows["CAM tag bits, stuck"]["how many"] == "1"
    assert whole.record is not None
    assert sum(left_out(whole.record).values()) == len(whole.record.defects.dead_neurons)


def test_second_leak_and_trim(whole_page: Parsed) -> None:
    rows = {
        row[0]: row[1:]
        for table in whole_page.tables
        if table[0] == ["quantity", "spread before", "spread after", "by"]
        for row in table
    }
    assert rows["tau_s"] == ["0.300", "0.040", "second leak"]
    assert rows["AMPA.weight_a"] == ["0.300", "0.040", "trim"]
    assert "3 neurons of 1 core take the second leak, whose current is 1.04 times the first's." in whole_page.text


def test_what_to_do_next(whole: Outcome, whole_page: Parsed) -> None:
    assert whole.record is not None
    for text in (
        "bcall-hw map NETWORK --calibration record.json", "bcall-hw calibrate --check record.json", whole.record.sha256,
        "does not avoid these cores", "cores 0/2, 3/3", "expires on 2999-01-01T00:00:00Z",
    ):  # fmt: skip
        assert any(text in item for item in whole_page.items)


def test_a_page_without_failures_warns_of_no_core(tmp_path: Path, chip: ChipModel) -> None:
    page = page_of(tmp_path, outcome_of(all_good([(2, 1)]), curves=False), chip)
    assert "What failed" not in page.headings
    assert "does not avoid" not in page.text
    assert page.marked == []
    assert page.table("quantity")["tau_s"]["failed"] == "0"


def test_one_core_with_a_picture_of_its_own(tmp_path: Path, chip: ChipModel) -> None:
    outcome = outcome_of(all_good([(1, 2)]), gains=(gains(chip, (1, 2), "tau_s"),))
    page = page_of(tmp_path, outcome, chip)
    assert list(page.table("core")) == ["1/2"]
    assert "on 1 core)" in page.lead
    assert "The record holds no values of single neurons for AMPA.weight_a." in page.text
    figure = page_figures.curves(outcome.curves)
    assert figure is not None
    assert [axes.get_title() for axes in figure.axes] == ["chip 1 core 2"]


@pytest.mark.parametrize("reason", [FailureReason.NO_SPIKES, FailureReason.OVERLOAD])
def test_no_record(tmp_path: Path, chip: ChipModel, capsys: pytest.CaptureFixture[str], reason: FailureReason) -> None:
    found = tuple(one((0, 0), quantity, None, reason) for quantity in TARGETS)
    outcome = Outcome(record=None, measured=found, curves={}, board_s=0.5)
    page = page_of(tmp_path, outcome, chip)
    assert page.lead.startswith("Nothing could be measured")
    assert "0 of 2 calibrated" in page.lead
    assert page.pictures == []
    assert not any("--calibration record.json" in item for item in page.items)
    assert any(FAILED[reason] in item for item in page.items)
    assert "there is no record" in shown(outcome, capsys)
    plain = strict_json(outcome)
    assert (plain["ok"], plain["board"], plain["record_sha256"]) == (False, None, None)
    assert set(plain["excluded"].values()) == {0}


def test_nothing_at_all(tmp_path: Path, chip: ChipModel, capsys: pytest.CaptureFixture[str]) -> None:
    outcome = Outcome(record=None, measured=(), curves={(0, 0): []}, board_s=0.0)
    assert "No quantity was asked for" in page_of(tmp_path, outcome, chip).text
    assert "0 of 0" in shown(outcome, capsys)
    assert not strict_json(outcome)["ok"]


def test_a_core_that_lacks_a_quantity_has_an_empty_place(tmp_path: Path, chip: ChipModel) -> None:
    page = page_of(tmp_path, outcome_of([*all_good([(0, 0)]), one((0, 1), "tau_s")], curves=False), chip)
    assert page.table("core")["0/1"] == {"core": "0/1", "tau_s": "+1.00%", "AMPA.weight_a": ""}


def test_names_are_told_as_text(tmp_path: Path, chip: ChipModel, capsys: pytest.CaptureFixture[str]) -> None:
    outcome = outcome_of([one((0, 0), NASTY), one((0, 1), NASTY, 0.5, MISSED)], board=NASTY * 50, curves=False)
    page = page_of(tmp_path, outcome, chip)
    assert page.scripts == 0
    assert NASTY in page.table("quantity")
    assert NASTY in page.lead
    assert len(page.lead) < 600
    printed = re.sub(r"\s", "", shown(outcome, capsys))
    assert "<script>alert('x')</script>&[bold]" in printed
    assert strict_json(outcome)["board"] == NASTY * 50


def test_marked_and_wide_cells_are_text_too(tmp_path: Path) -> None:
    page = report.Page("t", "l")
    page.table([NASTY], [[report.Mark(NASTY)], ["AMPA.tau_s <wbr> held_out_missed"]], wide=True)
    page.save(tmp_path / "p.html")
    parsed = Parsed(tmp_path / "p.html")
    assert parsed.scripts == 0
    assert parsed.tables == [[[NASTY], [f"\u2717 {NASTY}"], ["AMPA.tau_s <wbr> held_out_missed"]]]
    assert parsed.marked == [f"\u2717 {NASTY}"]


@pytest.mark.parametrize(
    ("quantity", "scale"),
    [("tau_s", 0.5 * 1.2), ("tau2_s", 0.5), ("AMPA.tau_s", 2.0), ("AMPA.weight_a", 1.5), ("refractory_s", 3.0),
     ("pulse_width_s", 5.0), ("adaptation.tau_s", 7.0), ("adaptation.weight_a", 1.0), ("dc_a", 1.1)],
)  # fmt: skip
def test_before_is_capacitance_times_core_for_times_and_core_alone_for_currents(
    chip: ChipModel, quantity: Any, scale: float
) -> None:
    record = record_with(
        capacitance_scale={"soma": 0.5, "AMPA": 2.0, "refractory": 3.0, "pulse": 5.0, "AHP": 7.0},
        core_scales=((0, 0, "tau_s", 1.2), (0, 0, "AMPA.weight_a", 1.5), (0, 0, "dc_a", 1.1)),
    )
    assert total_scale(record, load_mapping(chip), (0, 0), quantity) == pytest.approx(scale)


def bars(record: Calibration, chip: ChipModel, found: Sequence[Measured]) -> list[list[tuple[float, float]]]:
    """Of each panel: weighted mean of log10 and number of neurons, before and after."""
    figure = page_figures.histograms(record, load_mapping(chip), by_quantity(found)[0])
    assert figure is not None
    panels = []
    for axes in figure.axes:
        told = []
        for patch in axes.patches:
            counts, edges, _ = patch.get_data()  # type: ignore[attr-defined]
            told.append((float(np.sum(counts * (edges[1:] + edges[:-1]) / 2) / np.sum(counts)), float(np.sum(counts))))
        panels.append(told)
    return panels


def test_histograms_hold_every_neuron_and_move_by_the_scale(chip: ChipModel) -> None:
    found = [one((0, k), "tau_s", 0.0) for k in range(4)]
    values = [1.0] * (chip.geometry.neurons - 2) + [90.0, None]  # one far beyond the others, one that nobody knows
    record = record_with(
        gains=tuple(gains(chip, (0, k), "tau_s", values) for k in range(3)), capacitance_scale={"soma": 0.5},
        core_scales=((0, 1, "tau_s", 4.0),),
    )  # fmt: skip
    panels = bars(record, chip, found)
    assert len(panels) == 3  # the core without gains has none
    for before, after in panels:
        assert before[1] == after[1] == chip.geometry.neurons - 1
        assert after[0] == pytest.approx(np.log10(20), abs=0.03)
    assert panels[0][0][0] == pytest.approx(np.log10(10), abs=0.03)
    assert panels[1][0][0] == pytest.approx(np.log10(40), abs=0.03)


def test_no_histogram_of_nothing(chip: ChipModel) -> None:
    mapping, nobody = load_mapping(chip), [None] * chip.geometry.neurons
    unknown = record_with(gains=(gains(chip, (0, 0), "tau_s", nobody),))
    for record, found in (
        (record_with(), one((0, 0), "tau_s")),
        (unknown, one((0, 0), "tau_s")),
        (record_with(gains=(gains(chip, (0, 0), "tau_s"),)), one((0, 0), "tau_s", None, FailureReason.BUDGET)),
    ):
        assert page_figures.histograms(record, mapping, by_quantity([found])[0]) is None


def test_all_neurons_alike_still_make_a_histogram(chip: ChipModel) -> None:
    alike = gains(chip, (0, 0), "tau_s", [1.0] * chip.geometry.neurons)
    found = [one((0, 0), "tau_s", 0.0)]
    assert bars(record_with(gains=(alike,)), chip, found)[0][1][1] == chip.geometry.neurons


def test_the_board_shows_an_excluded_neuron_and_bad_cam_at_their_seats(chip: ChipModel) -> None:
    neuron, entry = 17, 3
    record = record_with(
        measured=(one((1, 2), "tau_s"),), dead_cam=((1, 2, 40, entry), (1, 2, 40, entry + 1)),
        excluded=(Excluded(chip=1, core=2, neuron=neuron, reason=ExclusionReason.HOT),),
    )  # fmt: skip
    axes = page_figures.board(record, chip).axes[0]
    side = round(chip.geometry.neurons**0.5)
    picture = axes.images[chip.geometry.cores + 2]
    colours = np.asarray(picture.get_array()).reshape(-1, 3)
    different = np.flatnonzero(np.any(colours != colours[0], axis=1))
    assert different.tolist() == [neuron]
    left, right, bottom, top = picture.get_extent()
    ((across, up),) = np.asarray(axes.collections[0].get_offsets())
    assert int((across - left) / (right - left) * side) == 40 % side
    assert int((top - up) / (top - bottom) * side) == 40 // side
    legend = axes.get_legend()
    assert legend is not None
    labels = [text.get_text() for text in legend.get_texts()]
    assert labels == ["in use", "core not calibrated", "hot (1)", "bad CAM entries (1 neurons)"]


def test_json_has_every_core_and_parameter(whole: Outcome) -> None:
    plain = strict_json(whole)
    assert whole.record is not None
    assert plain["ok"] is whole.ok is False
    assert (plain["board"], plain["board_s"], plain["record_sha256"]) == ("b7", 171.25, whole.record.sha256)
    assert plain["excluded"] == {"dead": 2, "silent": 0, "hot": 1, "outlier": 1, "unmeasured": 0, "deselected": 0}
    assert (plain["calibrated"], plain["asked"], len(plain["parameters"])) == (29, 32, 32)
    rows = {(row["chip"], row["core"], row["parameter"]): row for row in plain["parameters"]}
    missed, lost = rows[0, 2, "AMPA.weight_a"], rows[3, 3, "tau_s"]
    assert missed["target"] == 1e-11
    assert missed["achieved"] == pytest.approx(0.948e-11)
    assert missed["error"] == pytest.approx(-0.052)
    assert missed["interval"] == pytest.approx([0.948e-11 * 0.99, 0.948e-11 * 1.01])
    assert (missed["spread_before"], missed["spread_after"]) == (0.3, 0.04)
    assert (missed["ok"], missed["reason"], missed["why"]) == (False, "held_out_missed", FAILED[MISSED])
    assert lost["achieved"] is lost["error"] is lost["interval"] is lost["spread_before"] is None
    assert rows[0, 0, "tau_s"]["why"] is None


def test_the_terminal_has_a_row_for_each_quantity(whole: Outcome, capsys: pytest.CaptureFixture[str]) -> None:
    printed = shown(whole, capsys)
    row = next(line for line in printed.splitlines() if line.startswith("AMPA.weight_a "))
    for text in ("10 pA", "-5.20%", "0.30 -> 0.04", "14/16"):
        assert text in row
    assert "held_out_missed 1" in re.sub(r"\s+", " ", printed)
    for sentence in why_failed(whole.measured):
        assert sentence in printed
    assert "neurons left out: 2 dead, 1 hot, 1 outlier" in printed
    assert all(len(line) <= 80 for line in printed.splitlines()[: printed.splitlines().index(row)])


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [(0.02, "s", "20 ms"), (1e-3, "s", "1 ms"), (2e-5, "s", "20 us"), (1e-10, "A", "100 pA"), (0.0, "A", "0 A"),
     (3e-18, "A", "0.003 fA"), (12.5, "s", "12.5 s"), (-0.002, "s", "-2 ms"), (0.25, "", "0.25"), (None, "s", "-")],
)  # fmt: skip
def test_values_with_units(value: float | None, unit: str, text: str) -> None:
    assert with_unit(value, unit) == text


def test_jumps_of_traces_by_type_and_by_core(tmp_path: Path, chip: ChipModel) -> None:
    found = outcome_of(all_good([(0, 0), (0, 1)]), curves=False)
    jumps = (
        Jump(0, 0, "AMPA", 0.002, 0.0021, (0.00205, 0.00215), 0.25),
        Jump(0, 1, "AMPA", 0.002, 0.0020, (0.0018, 0.0021), 0.15),
        Jump(0, 1, "NMDA", 0.0004, 0.0004, (0.0003, 0.0005), None),
    )
    outcome = Outcome(found.record, found.measured, {}, 1.0, jumps)
    page = page_of(tmp_path, outcome, chip)
    row = page.table("synapse type")["AMPA"]
    assert (row["target a"], row["median over cores"], row["spread (CV)"]) == ("0.002", "0.00205", "0.200")
    assert row["largest 95 % interval"] == "\u00b110.0% (core 0/1)"
    rows = page.table("core, median a")
    assert rows["0/0"] == {"core, median a": "0/0", "AMPA": "0.0021 (+5.00%)", "NMDA": ""}
    assert strict_json(outcome)["jumps"][0]["achieved"] == 0.0021


@pytest.mark.parametrize("width", [80, 100])
def test_the_terminal_loses_no_letter_of_a_reason(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    reasons = [reason for reason in FailureReason if reason is not FailureReason.NONE]
    found = [one((k // 4, k % 4), "adaptation.weight_a", None, reason) for k, reason in enumerate(reasons)]
    table = shown(outcome_of(found), capsys).split("adaptation.weight_a, on")[0]
    for reason in reasons:
        assert f"{reason.value} 1" in re.sub(r"\s+", " ", table)


def test_no_value_is_a_dash() -> None:
    assert percent(None) == "-"
    assert percent(-0.0305) == "-3.05%"
