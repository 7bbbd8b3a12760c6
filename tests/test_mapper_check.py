"""check() on hand-made registers: it looks at the registers alone, so it must find what no mapper would make."""

from __future__ import annotations

import pytest
from mapper_helpers import CHIP

from bcall_hw.chip_config import ChipConfig
from bcall_hw.errors import FieldOverflow, ReservedTag, TagCollision
from bcall_hw.mapper.check import check

Entry = tuple[int, int, int, int, int, int]


def image(*entries: tuple[tuple[int, int, int, int], Entry], chips: tuple[int, ...] = (0, 1, 2, 3)) -> ChipConfig:
    """SRAM entries at (chip, core, neuron, place): virtual core, sy, dy, sx, dx, core mask."""
    config = ChipConfig.after_opening(CHIP, chips)
    sram = config.sram.copy()
    for (chip, core, neuron, place), entry in entries:
        sram[chips.index(chip), core, neuron, place] = entry
    return config.with_registers(sram=sram)


def test_an_opened_chip_breaks_no_rule() -> None:
    assert check(ChipConfig.after_opening(CHIP, (0, 1, 2, 3))) == []


def test_a_disconnected_destination_does_not_count() -> None:
    assert check(image(((0, 0, 0, 0), (0, 1, 3, 1, 3, 0)))) == []


def test_neurons_of_two_chips_collide() -> None:
    found = check(image(((0, 1, 9, 0), (1, 0, 0, 0, 1, 0b0110)), ((3, 2, 9, 2), (1, 0, 1, 0, 0, 0b0011))))
    assert [type(p) for p in found] == [TagCollision]
    for piece in ("chip 1 core 1", "chip 0 core 1 neuron 9", "chip 3 core 2 neuron 9", "(core 1, neuron 9)"):
        assert piece in str(found[0])


@pytest.mark.parametrize("change", ["virtual core", "mask", "chip", "neuron"])
def test_no_collision_when_one_thing_differs(change: str) -> None:
    second: dict[str, tuple[tuple[int, int, int, int], Entry]] = {
        "virtual core": ((0, 2, 9, 0), (2, 0, 0, 0, 0, 0b0010)),
        "mask": ((0, 2, 9, 0), (1, 0, 0, 0, 0, 0b1101)),
        "chip": ((0, 2, 9, 0), (1, 0, 0, 0, 1, 0b0010)),
        "neuron": ((0, 2, 10, 0), (1, 0, 0, 0, 0, 0b0010)),
    }
    first = ((0, 1, 9, 0), (1, 0, 0, 0, 0, 0b0010))
    assert check(image(first, second[change])) == []
    assert len(check(image(first, ((0, 2, 9, 0), (1, 0, 0, 0, 0, 0b0010))))) == 1


def test_one_problem_per_core_and_tag() -> None:
    found = check(image(((0, 1, 9, 0), (1, 0, 0, 0, 0, 15)), ((0, 2, 9, 0), (1, 0, 0, 0, 0, 15)), chips=(0,)))
    assert [p.where for p in found] == [f"chip 0 core {k}" for k in range(4)]


def test_reserved_tag_of_a_neuron() -> None:
    found = check(image(((2, 3, 0, 1), (0, 0, 0, 0, 0, 1))))
    assert [type(p) for p in found] == [ReservedTag]
    assert "chip 2 core 3 neuron 0" in str(found[0])
    assert "(core 0, neuron 0)" in str(found[0])
    assert check(image(((2, 3, 0, 1), (1, 0, 0, 0, 0, 1)))) == []


OFF_BOARD = [(0, 1, 1, 0, 0), (0, 0, 1, 0, 0), (0, 0, 0, 1, 1), (0, 0, 0, 0, 2), (0, 1, 2, 0, 0), (1, 0, 0, 0, 1)]
OFF_BOARD += [(2, 1, 1, 0, 0), (3, 0, 0, 0, 1), (3, 1, 1, 1, 1), (1, 0, 3, 1, 1), (2, 0, 3, 0, 3)]


@pytest.mark.parametrize(("own", "sy", "dy", "sx", "dx"), OFF_BOARD)
def test_destination_off_the_board(own: int, sy: int, dy: int, sx: int, dx: int) -> None:
    column = (own & 1) + (-dx if sx else dx)
    row = (own >> 1) + (dy if sy else -dy)
    on_board = column in (0, 1) and row in (0, 1)
    found = check(image(((own, 0, 5, 0), (0, sy, dy, sx, dx, 1))))
    assert [type(p) for p in found] == ([] if on_board else [FieldOverflow])
    if found:
        assert f"chip {own} core 0 neuron 5" in str(found[0])
        assert "off the board" in str(found[0])


def test_every_hop_lands_where_it_should() -> None:
    """All hops from all chips: off the board or at the one chip that plain arithmetic says."""
    for own in range(4):
        for hop in range(64):
            sy, dy, sx, dx = hop >> 5, hop >> 3 & 3, hop >> 2 & 1, hop & 3
            column, row = (own & 1) + (-dx if sx else dx), (own >> 1) + (dy if sy else -dy)
            on_board = column in (0, 1) and row in (0, 1)
            there = row * 2 + column
            # A second source with the same tag is planted at the expected core, so that the arrival shows as a collision.
            planted = [(5, "planted", frozenset({(there, 2)}))] if on_board else []
            found = check(image(((own, 0, 5, 0), (0, sy, dy, sx, dx, 0b0100))), planted)
            assert [type(p) for p in found] == [TagCollision if on_board else FieldOverflow], (own, sy, dy, sx, dx)


def test_inputs_collide_with_neurons_and_may_not_be_reserved() -> None:
    config = image(((1, 1, 9, 0), (2, 0, 0, 0, 0, 0b1000)))
    reach = frozenset({(1, 3), (0, 0)})
    found = check(config, [(512 + 9, "input 'x' source 4", reach), (0, "input 'x' source 5", reach)])
    assert sorted(type(p).__name__ for p in found) == ["ReservedTag", "TagCollision"]
    text = " ".join(str(p) for p in found)
    for piece in ("input 'x' source 4", "input 'x' source 5", "chip 1 core 3", "chip 1 core 1 neuron 9", "(core 2, neuron 9)"):
        assert piece in text
    assert check(config, [(512 + 9, "input 'x' source 4", frozenset({(1, 2)}))]) == []


def test_two_inputs_under_one_tag_are_found() -> None:
    here, there = frozenset({(0, 1)}), frozenset({(0, 2)})
    empty = ChipConfig.after_opening(CHIP)
    assert [type(p) for p in check(empty, [(300, "input 'a'", here), (300, "input 'b'", here)])] == [TagCollision]
    assert check(empty, [(300, "input 'a'", here), (300, "input 'b'", there)]) == []


def test_an_entry_that_nobody_sends_to_is_found() -> None:
    empty = ChipConfig.after_opening(CHIP)
    cam = empty.cam.copy()
    cam["source_core"][0, 1, 7, 3], cam["source_neuron"][0, 1, 7, 3] = 1, 44
    cam["source_core"][0, 1, 8, 0], cam["source_neuron"][0, 1, 8, 0] = 1, 45
    config = empty.with_registers(cam=cam)
    here, elsewhere = (256 + 44, "input 'a'", frozenset({(0, 1)})), (256 + 45, "input 'b'", frozenset({(0, 2)}))
    assert [str(p).split(":")[0] for p in check(config, [here, elsewhere])] == ["chip 0 core 1 neuron 8 CAM entry 0"]
    assert check(config, [here, (256 + 45, "input 'b'", frozenset({(0, 1)}))]) == []
    assert check(config) == []  # without the inputs nothing can be told
