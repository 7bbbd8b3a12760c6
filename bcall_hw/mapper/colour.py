"""Exact list colouring of a small graph, by backtracking on the vertex with the fewest colours left."""

from __future__ import annotations

from collections.abc import Sequence


def colour_exactly(allowed: Sequence[Sequence[int]], clashes: Sequence[Sequence[int]]) -> tuple[list[int] | None, int]:
    """A colour for each vertex such that clashing ones differ.

    Meant for the neurons with one number: at most one of each core, and a colour for each virtual core.

    Args:
        allowed: colours of each vertex, the most wanted first.
        clashes: for each vertex, those that must have another colour.

    Returns:
        The colours, or None and a vertex that has none left when all is tried.
    """
    chosen: dict[int, int] = {}
    stuck = 0

    def left(vertex: int) -> list[int]:
        taken = {chosen[other] for other in clashes[vertex] if other in chosen}
        return [colour for colour in allowed[vertex] if colour not in taken]

    def step() -> bool:
        nonlocal stuck
        open_vertices = [v for v in range(len(allowed)) if v not in chosen]
        if not open_vertices:
            return True
        vertex = min(open_vertices, key=lambda v: (len(left(v)), -len(clashes[v]), v))
        colours = left(vertex)
        if not colours:
            stuck = vertex
        for colour in colours:
            chosen[vertex] = colour
            if step():
                return True
            del chosen[vertex]
        return False

    if step():
        return [chosen[vertex] for vertex in range(len(allowed))], -1
    return None, stuck
