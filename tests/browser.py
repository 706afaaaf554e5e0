"""A real headless Chromium, driven over its DevTools protocol. Import the fixture ``browser``."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import subprocess
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.broker import eventually

CHROMIUM = shutil.which("chromium-headless-shell") or shutil.which("chromium")


class Browser:
    """One window. *folder* holds its profile."""

    def __init__(self, folder: Path) -> None:
        # Keeps its crash handler and caches in the folder, too.
        environment = {**os.environ, "HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
        self._process = subprocess.Popen(
            [
                str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                "--no-first-run", "--mute-audio", "--remote-debugging-port=0", f"--user-data-dir={folder}",
                "about:blank",
            ],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment,
            start_new_session=True,  # Debian's command is a script that waits for the real one
        )  # fmt: skip
        try:
            port_file = folder / "DevToolsActivePort"
            started = eventually(lambda: port_file.exists() and "\n" in port_file.read_text())
            assert started, "chromium does not start"
            self.tab = Tab(int(port_file.read_text().split("\n")[0]))
        except BaseException:
            self._kill()
            raise

    def close(self) -> None:
        self.tab.close()
        self._kill()

    def _kill(self) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


class NavigatedError(Exception):
    """The page navigated away during a command."""


class Tab:
    """A browser tab: navigation, JavaScript, emulated screen."""

    def __init__(self, port: int) -> None:
        from websockets.sync.client import connect

        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=20) as answer:
            found = next(it for it in json.load(answer) if it["type"] == "page")
        self._socket = connect(found["webSocketDebuggerUrl"], max_size=None, open_timeout=20)
        self._number = 0
        self.problems: list[str] = []  # console errors, such as a blocked script
        self.command("Page.enable")
        self.command("Runtime.enable")
        self.command("Log.enable")

    def command(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        while True:
            answer = json.loads(self._socket.recv(60))
            if answer.get("id") == self._number:
                if "navigated" in str(answer.get("error")):
                    raise NavigatedError
                assert "error" not in answer, answer["error"]
                result: dict[str, Any] = answer["result"]
                return result
            self._note(answer)

    def _note(self, event: dict[str, Any]) -> None:
        match event:
            case {"method": "Runtime.exceptionThrown", "params": {"exceptionDetails": details}}:
                self.problems.append(json.dumps(details)[:500])
            case {"method": "Log.entryAdded", "params": {"entry": {"level": "error", "text": text}}}:
                self.problems.append(text)

    def go(self, url: str) -> None:
        self.command("Page.navigate", url=url)
        assert eventually(lambda: self.run("document.readyState") == "complete")

    def run(self, script: str) -> Any:
        """The value of *script*, a JavaScript expression; awaits a promise."""
        try:
            done = self.command("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        except NavigatedError:  # retry on the new page
            return self.run(script)
        assert "exceptionDetails" not in done, done["exceptionDetails"]
        return done["result"].get("value")

    def text(self, selector: str) -> str:
        """Text of the first element matching *selector*; empty if there is none."""
        return str(self.run(f"document.querySelector({json.dumps(selector)})?.textContent ?? ''"))

    def click(self, selector: str) -> None:
        self.run(f"document.querySelector({json.dumps(selector)}).click()")

    def press(self, key: str, code: int, text: str = "") -> None:
        """Press and release a key."""
        for kind in ("keyDown", "keyUp"):
            more = {"text": text} if text and kind == "keyDown" else {}
            self.command("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code, **more)

    def emulate(self, width: int, height: int, *, dark: bool = False) -> None:
        """Emulate a screen of this size, in light or dark mode."""
        self.command(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.command("Emulation.setEmulatedMedia", features=[scheme])

    def png(self) -> bytes:
        return base64.b64decode(self.command("Page.captureScreenshot", format="png")["data"])

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("chromium is not installed: apt-get install chromium-headless-shell")
    # Not in pytest's folder, whose path is too long for Chromium's sockets.
    with tempfile.TemporaryDirectory(prefix="browser-", ignore_cleanup_errors=True) as folder:
        running = Browser(Path(folder))
        yield running
        running.close()
