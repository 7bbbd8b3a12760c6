"""A headless Chromium that tests drive through the DevTools protocol, over a pipe and without further packages."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

#: Letters that stand for what is not typed as itself: (code, key code).
KEYS = {
    "Tab": ("Tab", 9), "ArrowLeft": ("ArrowLeft", 37), "ArrowRight": ("ArrowRight", 39), "ArrowUp": ("ArrowUp", 38),
    "Home": ("Home", 36), "End": ("End", 35), "Enter": ("Enter", 13), "+": ("Equal", 187),
    "-": ("Minus", 189), "0": ("Digit0", 48),
}  # fmt: skip
_FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
    "--no-default-browser-check", "--disable-extensions", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--mute-audio", "--host-resolver-rules=MAP * ~NOTFOUND", "--remote-debugging-pipe",
)  # fmt: skip
# Chromium reads commands from descriptor 3 and answers on 4, whatever numbers the pipes have here.
_EXEC = "import os, sys; os.dup2(int(sys.argv[1]), 3); os.dup2(int(sys.argv[2]), 4); os.execv(sys.argv[3], sys.argv[3:])"
_PATIENCE_S = 30.0


def chromium() -> str:
    """The browser; skips the test where there is none."""
    named = os.environ.get("BCALL_CHROMIUM")
    found = shutil.which(named or "chromium")
    if found is None:
        pytest.skip(f"no chromium: BCALL_CHROMIUM names {named}" if named else "no chromium on PATH")
    return found


def _high(descriptor: int) -> int:
    """The same descriptor under a number that is neither 3 nor 4."""
    moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD, 20)
    os.close(descriptor)
    return moved


class Browser:
    """The process, its pipe, and what it told so far."""

    def __init__(self, folder: Path) -> None:
        theirs_in, self._out = map(_high, os.pipe())
        self._in, theirs_out = map(_high, os.pipe())
        program = [chromium(), *_FLAGS, f"--user-data-dir={folder}", "about:blank"]
        command = [sys.executable, "-I", "-S", "-c", _EXEC, str(theirs_in), str(theirs_out), *program]
        self._process = subprocess.Popen(
            command, pass_fds=(theirs_in, theirs_out), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, start_new_session=True, env=os.environ | {"HOME": str(folder)},
        )  # fmt: skip
        os.close(theirs_in)
        os.close(theirs_out)
        self._rest, self._number = b"", 0
        self.events: list[dict[str, Any]] = []

    def close(self) -> None:
        """Kill it with all its children."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(timeout=_PATIENCE_S)
        os.close(self._in)
        os.close(self._out)

    def call(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        """One command and its answer; events that come before it are kept."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        until = time.monotonic() + _PATIENCE_S
        while True:
            answer = self._next(until, method)
            if answer.get("id") != self._number:
                self.events.append(answer)
            elif "error" in answer:
                raise AssertionError(f"{method}: {answer['error']}")
            else:
                return dict(answer["result"])

    def _next(self, until: float, waiting_for: str) -> dict[str, Any]:
        parts = [self._rest]
        while b"\0" not in parts[-1]:
            if not select.select([self._in], [], [], max(0.0, until - time.monotonic()))[0]:
                raise AssertionError(f"chromium does not answer {waiting_for}")
            read = os.read(self._in, 1 << 20)
            if not read:
                raise AssertionError(f"chromium ended at {waiting_for}")
            parts.append(read)
        message, _, self._rest = b"".join(parts).partition(b"\0")
        return dict(json.loads(message))


class Tab:
    """One page: opened, asked, and used with mouse and keys."""

    def __init__(self, browser: Browser, width: int = 1280, height: int = 900) -> None:
        self.browser = browser
        self._target = browser.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = browser.call("Target.attachToTarget", targetId=self._target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.do(f"{domain}.enable")
        self.resize(width, height)

    def do(self, method: str, **parameters: Any) -> dict[str, Any]:
        return self.browser.call(method, self._session, **parameters)

    def resize(self, width: int, height: int) -> None:
        self.do("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def close(self) -> None:
        self.browser.call("Target.closeTarget", targetId=self._target)

    def told(self, *methods: str) -> list[dict[str, Any]]:
        """Parameters of the events of this page."""
        self.value("1")  # what happened before this answer has been told by now
        mine = [event for event in self.browser.events if event.get("sessionId") == self._session]
        return [event["params"] for event in mine if event["method"] in methods]

    def open(self, address: str) -> float:
        """Load a page and wait until it says that it is ready.

        Returns:
            ms from the start of the navigation.
        """
        self.do("Page.navigate", url=address)
        self.wait("window.__ready > 0")
        return float(self.value("window.__ready"))

    def value(self, expression: str) -> Any:
        """What an expression is worth on the page."""
        answer = self.do("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait(self, expression: str) -> Any:
        """Wait until an expression is true."""
        until = time.monotonic() + _PATIENCE_S
        while not (found := self.value(expression)):
            assert time.monotonic() < until, f"never true: {expression}"
            time.sleep(0.02)
        return found

    def frame(self) -> None:
        """Let the page draw."""
        self.value("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def place(self, selector: str, right: float = 0.5, down: float = 0.5) -> tuple[float, float]:
        """A point of an element, which is scrolled into view."""
        box = self.value(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)}); e.scrollIntoView({{block: 'center'}});"
            " const b = e.getBoundingClientRect(); return [b.left, b.top, b.width, b.height]; })()"
        )
        return box[0] + right * box[2], box[1] + down * box[3]

    def mouse(self, kind: str, at: tuple[float, float], **more: Any) -> None:
        self.do("Input.dispatchMouseEvent", type=kind, x=at[0], y=at[1], **more)

    def hover(self, at: tuple[float, float]) -> None:
        self.mouse("mouseMoved", at)

    def click(self, at: tuple[float, float], times: int = 1) -> None:
        for count in range(1, times + 1):
            self.mouse("mousePressed", at, button="left", clickCount=count)
            self.mouse("mouseReleased", at, button="left", clickCount=count)

    def click_on(self, selector: str) -> None:
        self.click(self.place(selector))

    def drag(self, start: tuple[float, float], end: tuple[float, float], modifiers: int = 0) -> None:
        self.mouse("mousePressed", start, button="left", clickCount=1, modifiers=modifiers)
        middle = ((start[0] + end[0]) / 2, (start[1] + end[1]) / 2)
        for at in (middle, end):
            self.mouse("mouseMoved", at, button="left", buttons=1, modifiers=modifiers)
        self.mouse("mouseReleased", end, button="left", clickCount=1, modifiers=modifiers)

    def wheel(self, at: tuple[float, float], turned: float) -> None:
        self.mouse("mouseWheel", at, deltaX=0, deltaY=turned)

    def key(self, key: str, modifiers: int = 0) -> None:
        code, number = KEYS[key]
        more = {"text": key} if len(key) == 1 else {}
        shared = {"key": key, "code": code, "windowsVirtualKeyCode": number, "modifiers": modifiers}
        self.do("Input.dispatchKeyEvent", type="keyDown", **shared, **more)
        self.do("Input.dispatchKeyEvent", type="keyUp", **shared)

    def choose(self, selector: str, value: str) -> None:
        """Choose an option of a select, as a hand would: with a change event."""
        self.value(
            f"(() => {{ const s = document.querySelector({json.dumps(selector)}); s.value = {json.dumps(value)};"
            " s.dispatchEvent(new Event('change', {bubbles: true})); })()"
        )

    def faults(self) -> list[dict[str, Any]]:
        """Exceptions, and errors and warnings of the console and the log."""
        log = [told["entry"] for told in self.told("Log.entryAdded") if told["entry"]["level"] in ("error", "warning")]
        console = [told for told in self.told("Runtime.consoleAPICalled") if told["type"] in ("error", "warning", "assert")]
        return [*log, *console, *self.told("Runtime.exceptionThrown")]

    def requests(self) -> list[str]:
        """Addresses that the page asked for; what it carries in itself is none."""
        asked = [told["request"]["url"] for told in self.told("Network.requestWillBeSent")]
        return [address for address in asked if not address.startswith("data:")]


@contextmanager
def open_browser(folder: Path) -> Iterator[Browser]:
    """A browser of one's own."""
    browser = Browser(folder)
    try:
        yield browser
    finally:
        browser.close()
