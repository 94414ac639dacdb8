"""A headless Chromium without other libraries: its DevTools protocol over two pipes.

    with Browser(find()) as browser:
        browser.open(path.as_uri())
        browser.press("Tab")
        browser.run("document.activeElement.tagName")
"""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from typing import Any

PATIENCE = 180.0  # seconds for one answer, on a machine that is busy with something else
DOMAINS = ("Page", "Runtime", "Network", "Log")
KEYS = {"Tab": 9, "Enter": 13, "Space": 32, "ArrowLeft": 37, "ArrowRight": 39}
TYPED = {"Enter": "\r", "Space": " "}


def find() -> str | None:
    """The browser of this machine, if there is one."""
    return shutil.which("chromium") or shutil.which("google-chrome")


class Browser:
    """One window. `complaints` holds what the page in it reported or asked of a network."""

    def __init__(self, program: str):
        self.profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        theirs_in, self.writing = os.pipe()
        self.reading, theirs_out = os.pipe()
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
                 "--disable-background-networking", "--disable-component-update",
                 "--remote-debugging-pipe", f"--user-data-dir={self.profile.name}"]
        # The protocol wants numbers 3 and 4; a shell puts the pipes there.
        places = f'exec "$@" 3</dev/fd/{theirs_in} 4>/dev/fd/{theirs_out}'
        self.process = subprocess.Popen(
            ["/bin/sh", "-c", places, "sh", program, *flags], stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, pass_fds=(theirs_in, theirs_out),
        )  # fmt: skip
        os.close(theirs_in)
        os.close(theirs_out)
        self.number, self.held = 0, b""
        self.session: str | None = None
        self.loaded = False
        self.complaints: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self.session = attached["sessionId"]
        for domain in DOMAINS:
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """One command of the protocol and its result; RuntimeError when it is refused."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.writing, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self.number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return answer["result"]

    def _next(self) -> dict[str, Any]:
        deadline = time.monotonic() + PATIENCE
        while b"\0" not in self.held:
            ready, _, _ = select.select([self.reading], [], [], deadline - time.monotonic())
            data = os.read(self.reading, 1 << 16) if ready else b""
            if not data:
                raise RuntimeError("the browser ended" if ready else "the browser does not answer")
            self.held += data
        text, _, self.held = self.held.partition(b"\0")
        message = json.loads(text)
        self._noticed(message.get("method", ""), message.get("params", {}))
        return message

    def _noticed(self, event: str, values: dict[str, Any]) -> None:
        if event == "Page.loadEventFired":
            self.loaded = True
        elif event == "Runtime.consoleAPICalled":
            self.complaints.append(f"console: {values['args']}")
        elif event == "Runtime.exceptionThrown":
            self.complaints.append(f"exception: {values['exceptionDetails']}")
        elif event == "Log.entryAdded":
            self.complaints.append(f"log: {values['entry']['text']}")
        elif event == "Network.requestWillBeSent":
            address = values["request"]["url"]
            if not address.startswith(("file:", "data:")):
                self.complaints.append(f"asks for {address}")

    def open(self, address: str) -> None:
        """Load a page, from its top and with nothing focused."""
        self.loaded, self.complaints = False, []
        failed = self.call("Page.navigate", url=address).get("errorText")
        if failed:
            raise RuntimeError(f"{address}: {failed}")
        while not self.loaded:
            self._next()

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression in the page."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(f"{script[:80]}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def press(self, key: str) -> None:
        """A key pressed and let go."""
        values: dict[str, Any] = {"key": TYPED.get(key, key) if key == "Space" else key,
                                  "code": key, "windowsVirtualKeyCode": KEYS[key]}
        text = {"text": TYPED[key]} if key in TYPED else {}
        self.call("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", **values,
                  **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", **values)

    def size(self, width: int, height: int, phone: bool = False) -> None:
        """The window's size in pixels of CSS."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height,
                  deviceScaleFactor=1, mobile=phone)

    def dark(self, wanted: bool) -> None:
        """What the system prefers, as the page is told; motion it never wants."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if wanted else "light"}
        still = {"name": "prefers-reduced-motion", "value": "reduce"}
        self.call("Emulation.setEmulatedMedia", features=[scheme, still])

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *exc: object) -> None:
        self.session = None
        try:
            self.call("Browser.close")
        except (RuntimeError, OSError):
            self.process.kill()
        self.process.wait(30)
        os.close(self.writing)
        os.close(self.reading)
        self.profile.cleanup()
