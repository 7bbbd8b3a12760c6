"""A picture of the board: which population sits where, and the traffic between cores and chips.

`draw_cores` and `seat_centre` draw and find the seats of any board, for other pictures of it.
"""

from __future__ import annotations

import io
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bcall_hw import files
from bcall_hw.chip_model import ChipModel
from bcall_hw.errors import FileProblem
from bcall_hw.mapper import MappedNetwork, utilisation

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Endings of the files that a picture can be written to.
ENDINGS = (".svg", ".png", ".pdf")
_UNUSED, _DEAD, _WARNED, _LINK = "#e8ecf0", "#1b2733", "#b0413e", "#51606e"
_CORE, _GAP = 1.0, 0.16
#: Rows of the legend, and letters of a name in it.
_LEGEND_ROWS, _LONGEST = 5, 24


def board_figure(mapped: MappedNetwork) -> Figure:
    """Every neuron as a dot in the colour of its population, numbers on the links between chips, and traffic core by core."""
    from matplotlib.figure import Figure

    use, names = utilisation(mapped), list(mapped.addresses)
    figure = Figure(figsize=(14, 8.0))
    board, matrix = figure.subplots(1, 2, width_ratios=[1.15, 1])
    figure.subplots_adjust(left=0.02, right=0.985, top=0.9, bottom=0.15, wspace=0.09)
    _draw_board(board, mapped, names)
    _draw_links(board, mapped)
    _draw_traffic(matrix, use)
    config = mapped.config
    totals = ", ".join(
        f"{key} {use[key]['used']:,} of {use[key]['of']:,}" for key in ("neurons", "cam", "sram", "fpga_sources")
    )
    chips = ", ".join(map(str, config.chips))
    figure.suptitle(f"{mapped.network.name} on {config.chip.name}, chips {chips}: {totals}", fontsize=11)
    return figure


def save_board_figure(mapped: MappedNetwork, path: Path) -> None:
    """Write the picture, in the format of the file's ending.

    Raises:
        FileProblem: another ending, or the file cannot be written.
    """
    from matplotlib import rc_context

    check_ending(path)
    buffer = io.BytesIO()
    with rc_context({"svg.hashsalt": "bcall_hw"}):  # the same network gives the same file
        board_figure(mapped).savefig(buffer, format=path.suffix[1:], dpi=120, metadata=_no_date(path))
    files.write_bytes(path, buffer.getvalue())


def check_ending(path: Path) -> None:
    """Refuse a file that no picture can be written to.

    Raises:
        FileProblem: with the endings that can.
    """
    if path.suffix not in ENDINGS:
        used = path.suffix or "no ending"
        raise FileProblem(f"pictures are {', '.join(ENDINGS)} files", where=str(path)[:200], used=used)
    files.check_folder_of(path)


def _no_date(path: Path) -> dict[str, None]:
    """No time of day in the file."""
    return {"Date": None} if path.suffix == ".svg" else {"CreationDate": None} if path.suffix == ".pdf" else {}


def _corner(chip: ChipModel, chip_id: int, core: int) -> tuple[float, float]:
    """Lower left corner of a core: chips lie as on the board, their cores in a square."""
    g = chip.geometry
    side = int(np.ceil(np.sqrt(g.cores)))
    pitch = side * (_CORE + _GAP) + 5 * _GAP
    x = chip_id % g.chip_columns * pitch + core % side * (_CORE + _GAP)
    return x, -(chip_id // g.chip_columns) * pitch - core // side * (_CORE + _GAP)


def _seats_in_a_row(chip: ChipModel) -> int:
    return int(np.ceil(np.sqrt(chip.geometry.neurons)))


def seat_centre(chip: ChipModel, chip_id: int, core: int, neuron: int) -> tuple[float, float]:
    """Middle of a neuron's square in a picture by `draw_cores`."""
    x, y = _corner(chip, chip_id, core)
    side = _seats_in_a_row(chip)
    return x + (neuron % side + 0.5) / side, y + _CORE - (neuron // side + 0.5) / side


def draw_cores(
    axes: Axes,
    chip: ChipModel,
    seats: Mapping[tuple[int, int, int], object],
    used: Collection[int],
    grounds: Mapping[tuple[int, int], object] | None = None,
) -> None:
    """Every core of the board as a square of seats.

    Args:
        seats: colours by (chip, core, neuron).
        used: ids of the chips that are in use; the others say that they are not.
        grounds: colours of the other seats by (chip, core); one grey if absent.
    """
    g, side = chip.geometry, _seats_in_a_row(chip)
    for chip_id in range(g.chips):
        for core in range(g.cores):
            x, y = _corner(chip, chip_id, core)
            picture = np.full((side * side, 3), 1.0)
            picture[: g.neurons] = _rgb((grounds or {}).get((chip_id, core), _UNUSED))
            for neuron in range(g.neurons):
                if (chip_id, core, neuron) in seats:
                    picture[neuron] = _rgb(seats[chip_id, core, neuron])
            shown = picture.reshape(side, side, 3)
            axes.imshow(shown, extent=(x, x + _CORE, y, y + _CORE), interpolation="nearest", aspect="equal", zorder=2)
            axes.text(x + 0.02, y + _CORE + 0.02, f"core {core}", fontsize=7, color=_LINK)
        x, y = _corner(chip, chip_id, 0)
        grey = "" if chip_id in used else " (not used)"
        axes.text(x, y + _CORE + 0.17, f"chip {chip_id}{grey}", fontsize=10, weight="bold")
    axes.autoscale_view()
    right, bottom = _corner(chip, g.chips - 1, g.cores - 1)
    axes.set(xlim=(-0.2, right + _CORE + 0.2), ylim=(bottom - 0.2, _CORE + 0.45))
    axes.set_axis_off()


def _draw_board(axes: Axes, mapped: MappedNetwork, names: list[str]) -> None:
    from matplotlib import colormaps

    colours = colormaps["tab20"]
    seats: dict[tuple[int, int, int], object] = {}
    for number, name in enumerate(names):
        for chip, core, neuron in mapped.addresses[name].tolist():
            seats[chip, core, neuron] = colours(number % 20)
    dead = set(mapped.defects.dead_neurons)
    seats |= dict.fromkeys(dead, _DEAD)
    draw_cores(axes, mapped.config.chip, seats, mapped.config.chips)
    handles = [
        axes.plot([], [], "s", color=colours(number % 20), label=f"{_short(name)} ({len(mapped.addresses[name]):,})")[0]
        for number, name in enumerate(names)
    ]
    if dead:
        handles += axes.plot([], [], "s", color=_DEAD, label="dead neuron")
    # Outside the layout engine, which would shrink the board to make room for long names.
    longest = max(len(str(handle.get_label())) for handle in handles)
    columns = max(1, min(6, 110 // (longest + 6)))
    rows = handles[: columns * _LEGEND_ROWS]
    title = "" if len(rows) == len(handles) else f"the first {len(rows)} of {len(names)} populations"
    title += "; colours repeat after 20" if len(names) > 20 else ""
    legend = axes.legend(
        handles=rows, loc="upper center", bbox_to_anchor=(0.5, -0.01), ncols=columns, fontsize=7, frameon=False, title=title
    )
    legend.set_in_layout(False)


def _short(name: str) -> str:
    """A long name without its middle."""
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST // 2]}..{name[-_LONGEST // 2 + 2 :]}"


def _rgb(colour: object) -> tuple[float, float, float]:
    from matplotlib.colors import to_rgb

    return to_rgb(colour)  # type: ignore[arg-type]


def _draw_links(axes: Axes, mapped: MappedNetwork) -> None:
    """An arrow for each pair of chips with the number of neurons that send along it; red where the vendor warns."""
    config, g = mapped.config, mapped.config.chip.geometry
    side = int(np.ceil(np.sqrt(g.cores)))
    half = (side * (_CORE + _GAP) - _GAP) / 2
    reached = config.reached_chips()
    for here in config.chips:
        for there in config.chips:
            count = 0 if here == there else int((reached[config.chips.index(here)] == there).any(axis=-1).sum())
            if not count:
                continue
            colour = _WARNED if (here, there) in config.chip.sram.warned_links else _LINK
            start, end = (np.add(_corner(config.chip, c, 0), (half, _CORE - half)) for c in (here, there))
            way = end - start
            off = np.array([way[1], -way[0]]) / np.hypot(*way) * 0.14
            tail, head = start + way * 0.42 + off, start + way * 0.58 + off
            axes.annotate("", head, tail, arrowprops={"arrowstyle": "->", "color": colour, "lw": 1.5}, zorder=3)
            at = (tail + off * 0.9).tolist()
            axes.text(at[0], at[1], f"{count:,}", fontsize=7, color=colour, ha="center", va="center", zorder=4)


def _draw_traffic(axes: Axes, use: dict[str, object]) -> None:
    cores = [(c["chip"], c["core"]) for c in use["cores"]]  # type: ignore[attr-defined]
    traffic = np.zeros((len(cores), len(cores)), dtype=np.int64)
    for link in use["traffic"]:  # type: ignore[attr-defined]
        traffic[cores.index(tuple(link["from"])), cores.index(tuple(link["to"]))] = link["neurons"]
    axes.imshow(traffic, cmap="Blues")
    for (row, column), count in np.ndenumerate(traffic):
        if count:
            colour = "white" if count > traffic.max() / 2 else "black"
            axes.text(column, row, str(count), ha="center", va="center", fontsize=7, color=colour)
    labels = [f"{chip}/{core}" for chip, core in cores]
    axes.set_xticks(range(len(cores)), labels, fontsize=7)
    axes.set_yticks(range(len(cores)), labels, fontsize=7)
    axes.set(xlabel="to chip/core", ylabel="from chip/core")
    silent = "" if traffic.any() else ": none do"
    axes.set_title(f"neurons of one core that send to another{silent} (red arrows: links that the vendor warns of)", fontsize=9)
