"""The report page of a comparison, in a real browser."""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import compare_page_helpers as made
import numpy as np
import pytest
from browser import Browser, Tab, open_browser
from compare_page_use import changed, darkest, panels, shown, spot, text, texts, tip, view

from bcall_hw.compare.page import write_page
from bcall_hw.compare.result import Comparison, Pictures, Verdict

NAMES = ["excitatory", "inhibitory", "readout"]
HOSTILE = "</script><script>window.hacked=1</script><img src=x onerror=window.hacked=1><!-- {{script}} \u2028"
MOST_BYTES = 10_000_000
TABS = ["quantities", "rasters", "scatter", "distances", "board", "learned", "recovered", "settings"]
SHIFT = 8


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with open_browser(tmp_path_factory.mktemp("browser")) as found:
        yield found


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "report page.html"
    write_page(path, made.comparison(NAMES), made.pictures(NAMES))
    return path


@pytest.fixture
def tab(browser: Browser) -> Iterator[Tab]:
    """A page that must end without a fault, and without having asked for anything but itself."""
    found = Tab(browser)
    yield found
    faults, requests = found.faults(), found.requests()
    found.close()
    assert faults == []
    assert {re.sub("#.*", "", address)[:8] for address in requests} <= {"file:///"}
    assert len({re.sub("#.*", "", address) for address in requests}) <= 1


@pytest.fixture
def page(tab: Tab, usual: Path) -> Tab:
    tab.open(usual.as_uri())
    return tab


def written(tab: Tab, folder: Path, comparison: Comparison, pictures: Pictures) -> Path:
    path = folder / "page.html"
    write_page(path, comparison, pictures)
    tab.open(path.as_uri())
    return path


def test_it_opens_with_the_verdict_and_asks_for_nothing(page: Tab, usual: Path) -> None:
    assert text(page, "#verdict").split() == ["\u2260", "different"]
    assert "9 of 33 quantities differ" in text(page, "#why")
    assert "mis-calibrated" in text(page, "#alerts")
    sides = text(page, "#sides")
    for told in ("recordings/a.h5", "9007199254740993", "c0ffeec0ffee", "= the same", "3 spikes were lost", "1,234,567"):
        assert told in sides
    assert page.value("document.querySelector('#sides abbr').title") == "c0ffee" * 10 + "0123"
    assert "Record 20 repeats" in text(page, "#next")
    assert [address for address in page.requests() if address != usual.as_uri()] == []


def test_the_policy_lets_only_its_own_script_run(page: Tab) -> None:
    policy = page.value("document.querySelector('meta[http-equiv]').content")
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    foreign = "const s = document.createElement('script'); s.textContent = 'window.foreign = 1'; document.body.append(s)"
    page.value(f"(() => {{ {foreign} }})()")
    assert page.value("window.foreign === undefined")
    (refused,) = page.faults()
    assert "Content Security Policy" in refused["text"]
    page.browser.events.clear()


def test_tabs_by_mouse_keys_and_address(page: Tab) -> None:
    assert panels(page) == ["quantities"]
    for name in TABS:
        page.click_on(f"#tab-{name}")
        assert panels(page) == [name]
        assert page.value("location.hash") == f"#{name}"
        assert page.value("document.querySelectorAll('[role=tab][aria-selected=true][tabindex=\"0\"]').length") == 1
    for key, name in [
        ("ArrowRight", "quantities"),
        ("ArrowLeft", "settings"),
        ("Home", "quantities"),
        ("ArrowRight", "rasters"),
        ("End", "settings"),
    ]:
        page.key(key)
        assert panels(page) == [name]
        assert page.value("document.activeElement.id") == f"tab-{name}"
    for address, name in [("board", "board"), ("no-such-tab", "quantities")]:
        page.value(f"location.hash = '{address}'")
        page.wait(f"!document.getElementById('panel-{name}').hidden")
        assert panels(page) == [name]


def test_a_link_opens_a_tab(tab: Tab, usual: Path) -> None:
    tab.open(usual.as_uri() + "#scatter")
    assert panels(tab) == ["scatter"]


def test_the_tab_key_reaches_tabs_and_controls(page: Tab) -> None:
    page.click_on("#tab-rasters")
    reached = []
    for _ in range(5):
        page.key("Tab")
        reached.append(page.value("document.activeElement.id || document.activeElement.innerText"))
    assert reached == ["raster-population", "raster-mode", "Box zoom", "Reset view", "raster-plot"]


def test_the_raster_zooms_pans_and_resets(page: Tab) -> None:
    canvas = "#raster-plot"
    shown(page, "rasters")
    middle, full = page.place(canvas), view(page, canvas)
    assert full == (0, 2, 0, 512)
    page.wheel(middle, -300)
    zoomed = changed(page, canvas, full)
    assert zoomed[1] - zoomed[0] < 1.2
    assert zoomed[2:] == full[2:]
    assert "In view: 0 s to 2 s" not in text(page, "#raster-status")
    page.drag(middle, (middle[0] + 100, middle[1]))
    panned = changed(page, canvas, zoomed)
    assert panned[0] < zoomed[0]
    assert panned[1] - panned[0] == pytest.approx(zoomed[1] - zoomed[0])
    page.drag(middle, (middle[0] + 200, middle[1] + 80), modifiers=SHIFT)
    boxed = changed(page, canvas, panned)
    assert panned[0] < boxed[0] < boxed[1] < panned[1]
    assert 0 < boxed[2] < boxed[3] < 512
    in_view = page.value("document.querySelector('#raster-status').innerText.match(/In view.* ([0-9,]+) of A/)[1]")
    times, index = made.pictures(NAMES).populations["excitatory"].raster[0]
    seen = (times >= boxed[0]) & (times <= boxed[1]) & (index + 1 > boxed[2]) & (index < boxed[3])
    assert int(in_view.replace(",", "")) == pytest.approx(np.sum(seen), abs=1)
    page.click(middle, times=2)
    assert changed(page, canvas, boxed) == full
    page.click_on("#panel-rasters button[aria-pressed]")
    middle = page.place(canvas)
    page.drag(middle, (middle[0] + 100, middle[1] + 60))
    boxed = changed(page, canvas, full)
    assert boxed[1] - boxed[0] < 0.5
    page.click_on("#panel-rasters .choices button:last-child")
    assert changed(page, canvas, boxed) == full


def test_the_raster_by_keys(page: Tab) -> None:
    canvas = "#raster-plot"
    shown(page, "rasters").value(f"document.querySelector('{canvas}').focus()")
    seen = [view(page, canvas)]
    for key in ("+", "ArrowRight", "-", "0"):
        page.key(key)
        seen.append(view(page, canvas))
    widths = [x1 - x0 for x0, x1, _, _ in seen]
    assert widths[1] == widths[2] < widths[0]
    assert seen[2][0] > seen[1][0]
    assert widths[3] > widths[2]
    assert seen[4] == seen[0]


def test_a_spike_is_drawn_where_it_is_and_told(tab: Tab, tmp_path: Path) -> None:
    pictures = made.pictures(NAMES)
    one = pictures.populations["excitatory"]
    lone = (np.array([1.5, 0.25]), np.array([300, 100]))  # not in the order of time
    none = (np.zeros(0), np.zeros(0, dtype=np.int64))
    written(
        tab, tmp_path, made.comparison(NAMES), replace(pictures, populations={"excitatory": replace(one, raster=(lone, none))})
    )
    shown(tab, "rasters")
    at = spot(tab, "#raster-plot", 1.5, 300.5)
    beside = (at[0], at[1] + 40)
    ink, paper = darkest(tab, "#raster-plot", [at, beside])
    assert ink < 100
    assert paper == 255
    assert tip(tab, at).split("\n") == ["chip 0 core 1 neuron 44", "spike of A at 1.5 s"]
    assert tip(tab, beside).startswith("chip 0 core")
    assert "spike" not in text(tab, "#tip")


def test_the_raster_of_a_sample_says_so_and_shows_sides_apart(page: Tab) -> None:
    shown(page, "rasters")
    page.choose("#raster-population", "1")
    page.frame()
    assert "a sample of 128 of 300 neurons" in text(page, "#raster-status")
    pixels = "document.querySelector('#raster-plot').toDataURL()"
    pictures = {}
    for mode in ("over", "apart", "a", "b"):
        page.choose("#raster-mode", mode)
        page.frame()
        pictures[mode] = page.value(pixels)
    assert len(set(pictures.values())) == 4


def test_the_table_is_sorted_and_filtered(page: Tab) -> None:
    ratios, header = "#quantities-table td:nth-child(5)", "#quantities-table th:nth-child(5)"
    as_numbers = [lambda found: [float(t) for t in found if t != "\u2013"], lambda found: [t for t in found if t == "\u2013"]]
    for way in (1, -1):
        page.click_on(f"{header} button")
        found = texts(page, ratios)
        numbers, dashes = (part(found) for part in as_numbers)
        assert numbers == sorted(numbers, reverse=way < 0)
        assert len(numbers) == 31
        assert found[-2:] == dashes
        assert page.value(f"document.querySelector('{header}').ariaSort") == ("ascending" if way > 0 else "descending")
    page.choose("#quantity-population", "=readout")
    assert set(texts(page, "#quantities-table td:first-child")) == {"readout"}
    assert text(page, "#quantity-count") == "11 of 33 rows"
    page.choose("#quantity-verdict", "different")
    assert set(texts(page, "#quantities-table .verdict")) == {"\u2260 different"}
    page.choose("#quantity-population", "")
    page.choose("#quantity-verdict", "")
    assert text(page, "#quantity-count") == "33 rows"


def test_controls_say_in_words_what_failed(page: Tab) -> None:
    rows = texts(page, "#controls-table tbody tr")
    assert "29 of 33" in rows[0]
    assert "\u2713 found the difference, as it should" in rows[0]
    assert "\u26a0 found no difference, but there is one" in rows[1]
    assert "not run" in rows[2]
    assert "holds no registers" in rows[2]


def test_no_value_is_a_dash_that_says_why(page: Tab) -> None:
    cells = "[...document.querySelectorAll('#quantities-table td.number.none')].map(c => [c.innerText, c.title])"
    assert {tuple(cell) for cell in page.value(cells)} == {("\u2013", "undefined: too few spikes or repeats")}


def test_scatter_distances_and_board_tell_what_is_under_the_mouse(page: Tab) -> None:
    shown(page, "board")
    assert tip(page, page.place("#board-map", 0.02, 0.09)).startswith("excitatory\nchip 0 core 0 neuron ")
    assert "rate A" in text(page, "#tip")
    assert "not compared" in tip(page, page.place("#board-map", 0.03, 0.7))
    cores = texts(page, "#cores-table tbody tr")
    assert cores[0].startswith("chip 0 core 0")
    assert len(cores) == 6
    shown(page, "distances")
    page.place("#matrix-map")
    corner = page.value(
        "(() => { const b = document.querySelector('#matrix-map').getBoundingClientRect(); return [b.left, b.top]; })()"
    )
    at = (corner[0] + 1 + 44 + 24 * 3.5, corner[1] + 1 + 34 + 24 * 15.5)
    assert re.fullmatch(r"B repeat 6, A repeat 4\n[\d.]+ Hz", tip(page, at))
    page.choose("#matrix-quantity", "lv")
    assert "no distance is defined" in text(page, "#matrix-status")
    assert "undefined" in tip(page, at)
    shown(page, "scatter")
    assert re.search(r"neurons; \d+ ringed", text(page, "#scatter-status"))
    page.choose("#scatter-kind", "isi")
    page.click_on("#scatter-log")
    page.frame()
    assert view(page, "#scatter-plot")[0] < 0
    assert "have no value above zero on both sides" in text(page, "#scatter-status")


def test_a_point_of_the_scatter_tells_its_neuron(tab: Tab, tmp_path: Path) -> None:
    pictures = made.pictures(NAMES)
    one = pictures.populations["readout"]
    rates = np.full((2, 64), 10.0)
    rates[:, 7] = 30.0, 20.0
    only = replace(pictures, populations={"readout": replace(one, rate_hz=rates, z=np.where(np.arange(64) == 7, 8.5, np.nan))})
    written(tab, tmp_path, made.comparison(NAMES), only)
    shown(tab, "scatter")
    at = spot(tab, "#scatter-plot", 30, 20)
    assert tip(tab, at).split("\n") == ["readout", "chip 1 core 0 neuron 7", "A 30 Hz, B 20 Hz, z 8.5"]
    assert "1 ringed" in text(tab, "#scatter-status")


def test_plain_rows_and_settings(page: Tab) -> None:
    shown(page, "learned")
    assert "hidden correlation" in text(page, "#learned-table thead")
    assert "0.01235" in text(page, "#learned-table")
    shown(page, "recovered")
    assert "membrane time constant" in text(page, "#recovered-table")
    shown(page, "settings")
    rows = texts(page, "#settings-table tr")
    assert len(rows) == len(made.comparison(NAMES).settings)
    assert {"permutations\t9,999", "bin (s)\t0.05"} <= set(rows)


def test_names_from_files_are_text(tab: Tab, tmp_path: Path) -> None:
    names = [HOSTILE, "", "=readout\n<b>"]
    sides = (made.side("A", source=HOSTILE, notes=(HOSTILE,)), made.side("B", board=HOSTILE, config_sha256=HOSTILE))
    comparison = made.comparison(
        names, why=HOSTILE, sides=sides, next=(HOSTILE,), settings={HOSTILE: {HOSTILE: HOSTILE}}, learned=({HOSTILE: HOSTILE},)
    )
    written(tab, tmp_path, comparison, made.pictures(names))
    for name in TABS:
        shown(tab, name)
    assert tab.value("window.hacked === undefined")
    assert tab.value("document.querySelectorAll('script').length") == 2
    assert tab.value("document.querySelectorAll('img, b').length") == 0
    assert "<script>" in text(tab, "#why")
    assert "{{script}}" in text(tab, "#why")
    shown(tab, "quantities")
    tab.choose("#quantity-population", "=")
    assert text(tab, "#quantity-count") == "11 of 33 rows"


def hollow() -> tuple[Comparison, Pictures]:
    """Whatever may be absent is, and whatever may be no number is none."""
    pictures = made.pictures(NAMES)
    one = pictures.populations["readout"]
    nothing, none = np.full(64, np.nan), (np.zeros(0), np.zeros(0, dtype=np.int64))
    bare = replace(
        one, rate_hz=np.full((2, 64), np.nan), isi_s=np.full((2, 64), np.inf), z=np.where(np.arange(64) % 2, np.inf, nothing),
        raster=(none, none), matrices={"rate": np.full((3, 3), np.nan), "lv": np.zeros((0, 0))},
    )  # fmt: skip
    empty = replace(
        bare, addresses=np.zeros((0, 3), dtype=np.int64), rate_hz=np.zeros((2, 0)), isi_s=np.zeros((2, 0)), z=np.zeros(0),
        shown=np.zeros(0, dtype=np.int64), matrices={},
    )  # fmt: skip
    endless = made.quantity("readout", "rate", Verdict.DIFFERENT, 1.0, ratio=None, ratio_upper=None, within=0.0)
    settings: dict[str, Any] = {
        "a": math.nan,
        "b": math.inf,
        "c": [-math.inf, None],
        "d": np.float64(0.5),
        "e": np.arange(2),
        "f": {},
    }
    comparison = made.comparison(
        NAMES, verdict=Verdict.NOT_ENOUGH_DATA, quantities=(endless, made.undefined("readout", "lv")), controls=(), cores=(),
        learned=({"x": math.nan, "y": math.inf},), recovered=(), settings=settings, next=(),
    )  # fmt: skip
    return comparison, Pictures({"readout": bare, "empty": empty}, (0.0, 0.0), (1, 1, 3), 0)


def test_nothing_and_infinity_break_nothing(tab: Tab, tmp_path: Path) -> None:
    written(tab, tmp_path, *hollow())
    assert "\u221e" in texts(tab, "#quantities-table td:nth-child(5)")
    assert "No controls were run" in text(tab, "#panel-quantities")
    for name in TABS:
        if name != "recovered":
            shown(tab, name)
    assert tab.value("document.getElementById('tab-recovered')") is None
    assert text(tab, "#settings-table").split("\n")[:2] == ["a\t\u2013", "b\t\u221e"]
    for picture in ("raster", "scatter", "matrix"):
        shown(tab, {"matrix": "distances", "raster": "rasters"}.get(picture, picture))
        options = tab.value(f"[...document.querySelector('#{picture}-population').options].map(o => o.value)")
        for option in options:
            tab.choose(f"#{picture}-population", option)
            tab.frame()
    assert "64 neurons have addresses beyond" in text(shown(tab, "board"), "#panel-board")


def test_no_population_at_all(tab: Tab, tmp_path: Path) -> None:
    comparison = made.comparison(
        NAMES, verdict=Verdict.EQUIVALENT, quantities=(), settings={}, learned=(), recovered=(), bit_identical=True
    )
    written(tab, tmp_path, comparison, Pictures({}, (0.0, 1.0), (4, 4, 256), 2))
    for name in ("rasters", "scatter", "distances", "board", "settings", "quantities"):
        shown(tab, name)
    assert "the same, repeat by repeat" in text(tab, "#sides")


@pytest.mark.parametrize("width", [1280, 700])
def test_nothing_is_wider_than_the_window(page: Tab, width: int) -> None:
    page.resize(width, 900)
    for name in TABS:
        shown(page, name)
        assert page.value("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0


def test_paper_has_every_tab(page: Tab) -> None:
    pdf = base64.b64decode(page.do("Page.printToPDF")["data"])
    assert pdf.startswith(b"%PDF")
    drawn = "['raster-plot', 'scatter-plot', 'matrix-map', 'board-map'].every(id => document.getElementById(id)?.width > 300)"
    assert page.value(drawn)
    assert panels(page) == ["quantities"]


def test_a_large_page_is_small_and_opens(tab: Tab, tmp_path: Path) -> None:
    path = written(tab, tmp_path, made.comparison(["all"]), made.large_pictures())
    assert path.stat().st_size <= MOST_BYTES
    shown(tab, "rasters")
    assert "300,000 spikes of A, 300,000 of B" in text(tab, "#raster-status")
    assert tab.value("performance.getEntriesByName('ready').length") == 1


def test_without_a_browser_the_page_is_whole_html(usual: Path) -> None:
    page = usual.read_text()
    assert page.count("<script") == 2
    assert "{{" not in page.split("<script")[0]
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", page)
