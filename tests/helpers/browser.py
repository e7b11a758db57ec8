"""A real browser for tests of pages: Chromium, driven over the WebDriver protocol by its own driver program."""

from __future__ import annotations

import base64
import contextlib
import json
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-component-update",
    "--disable-background-networking", "--disable-sync", "--disable-dev-shm-usage", "--mute-audio",
    "--autoplay-policy=no-user-gesture-required",
)  # fmt: skip


def found() -> bool:
    """Whether Chromium and its driver are installed."""
    return bool(shutil.which("chromedriver") and (shutil.which("chromium") or shutil.which("google-chrome")))


class Browser:
    """One window of a running browser."""

    def __init__(self, address: str, session: str) -> None:
        self._base = f"{address}/session/{session}"

    def call(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """The value that the driver answers: GET without a body."""
        return _ask(f"{self._base}/{path}", body)

    def open(self, page: Path, width: int, height: int, dark: bool = False) -> None:
        """Show a file in a viewport of that size, in pixels."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.devtools("Emulation.setDeviceMetricsOverride", size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.devtools("Emulation.setEmulatedMedia", {"features": [scheme]})
        self.call("url", {"url": page.absolute().as_uri()})

    def devtools(self, command: str, parameters: dict[str, Any]) -> Any:
        """A command of the browser's own protocol."""
        return self.call("goog/cdp/execute", {"cmd": command, "params": parameters})

    def run(self, script: str) -> Any:
        """What the body of a function returns in the page."""
        return self.call("execute/sync", {"script": script, "args": []})

    def screenshot(self, path: Path) -> None:
        """The viewport as a PNG file."""
        path.write_bytes(base64.b64decode(self.call("screenshot")))

    def console(self) -> list[str]:
        """What was written to the console since the last call."""
        return [entry["message"] for entry in self.call("se/log", {"type": "browser"})]

    def requests(self) -> list[str]:
        """The addresses that were asked for since the last call."""
        messages = [
            json.loads(entry["message"])["message"] for entry in self.call("se/log", {"type": "performance"})
        ]
        sent = [message for message in messages if message["method"] == "Network.requestWillBeSent"]
        return [message["params"]["request"]["url"] for message in sent]


@contextlib.contextmanager
def browser() -> Iterator[Browser]:
    """A browser with a profile of its own; both end with the block."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    driver = subprocess.Popen(
        ["chromedriver", f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    address, session = f"http://127.0.0.1:{port}", None
    try:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
            _wait(address)
            options = {
                "args": [*_FLAGS, f"--user-data-dir={profile}"],
                "binary": shutil.which("chromium") or shutil.which("google-chrome"),
            }
            wanted = {
                "goog:chromeOptions": options,
                "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
            }
            session = _ask(f"{address}/session", {"capabilities": {"alwaysMatch": wanted}})["sessionId"]
            yield Browser(address, session)
            _ask(f"{address}/session/{session}", method="DELETE")
    finally:
        driver.terminate()
        driver.wait(timeout=10)


def _wait(address: str) -> None:
    for _ in range(100):
        with contextlib.suppress(OSError):
            if _ask(f"{address}/status")["ready"]:
                return
        time.sleep(0.1)
    raise RuntimeError("chromedriver did not start within 10 s")


def _ask(address: str, body: dict[str, Any] | None = None, method: str | None = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(address, data, {"Content-Type": "application/json"}, method=method)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=60) as answer:
            return json.load(answer)["value"]
    except urllib.error.HTTPError as error:
        raise RuntimeError(error.read().decode(errors="replace")[:500]) from None
