"""What tests ask of the report page, and where on its canvases a value lies."""

from __future__ import annotations

import json

from browser import Tab

#: As in plot.js.
LEFT, RIGHT, TOP, BOTTOM = 84, 16, 12, 46


def text(tab: Tab, selector: str) -> str:
    return str(tab.value(f"document.querySelector({json.dumps(selector)}).innerText"))


def texts(tab: Tab, selector: str) -> list[str]:
    """Of all elements that are shown."""
    query = f"[...document.querySelectorAll({json.dumps(selector)})].filter(e => e.offsetParent).map(e => e.innerText.trim())"
    return list(tab.value(query))


def panels(tab: Tab) -> list[str]:
    return list(tab.value("[...document.querySelectorAll('[role=tabpanel]')].filter(p => !p.hidden).map(p => p.id.slice(6))"))


def view(tab: Tab, canvas: str) -> tuple[float, float, float, float]:
    data = tab.value(f"({{...document.querySelector('{canvas}').dataset}})")
    return float(data["x0"]), float(data["x1"]), float(data["y0"]), float(data["y1"])


def changed(tab: Tab, canvas: str, before: tuple[float, ...]) -> tuple[float, float, float, float]:
    """The view once it is another one."""
    shown = "(d => [d.x0, d.x1, d.y0, d.y1].map(Number))"
    tab.wait(f"JSON.stringify({shown}(document.querySelector('{canvas}').dataset)) != JSON.stringify({json.dumps(before)})")
    return view(tab, canvas)


def tip(tab: Tab, at: tuple[float, float]) -> str:
    tab.hover((2, 2))
    tab.hover(at)
    tab.wait("!document.getElementById('tip').hidden")
    return text(tab, "#tip")


def shown(tab: Tab, name: str) -> Tab:
    tab.click_on(f"#tab-{name}")
    tab.frame()
    return tab


def spot(tab: Tab, canvas: str, x: float, y: float) -> tuple[float, float]:
    """Where a plot with one area, brought into view, has a value."""
    tab.place(canvas)
    box = (
        f"(() => {{ const c = document.querySelector('{canvas}'), b = c.getBoundingClientRect();"
        " return [b.left + c.clientLeft, b.top + c.clientTop, c.clientWidth, c.clientHeight]; })()"
    )
    left, top, wide, tall = tab.value(box)
    x0, x1, y0, y1 = view(tab, canvas)
    right, down = (x - x0) / (x1 - x0), (y1 - y) / (y1 - y0)
    return left + LEFT + right * (wide - LEFT - RIGHT), top + TOP + down * (tall - TOP - BOTTOM)


def darkest(tab: Tab, canvas: str, places: list[tuple[float, float]]) -> list[int]:
    """The least red within two pixels of each place of the window; 255 is white."""
    return list(
        tab.value(
            f"(() => {{ const c = document.querySelector('{canvas}'), b = c.getBoundingClientRect(), w = c.width;"
            "const all = c.getContext('2d').getImageData(0, 0, w, c.height).data, by = [-2, -1, 0, 1, 2];"
            "const red = (x, y) => all[4 * (Math.round(y - b.top - c.clientTop) * w + Math.round(x - b.left - c.clientLeft))];"
            "const least = ([x, y]) => Math.min(...by.flatMap(dx => by.map(dy => red(x + dx, y + dy))));"
            f"return {json.dumps(places)}.map(least); }})()"
        )
    )
