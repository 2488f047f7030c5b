"""A browser shows the report without a complaint."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time

import pytest

FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--remote-debugging-pipe",
]  # fmt: skip


class Browser:
    """Chromium, driven over a pipe: commands in, answers and events out."""

    def __init__(self, program: str, profile: str) -> None:
        to_read, self._write = os.pipe()
        self._read, to_write = os.pipe()
        # The browser reads from descriptor 3 and writes to 4.
        script = f'exec "$0" "$@" 3<&{to_read} 4>&{to_write}'
        self._process = subprocess.Popen(
            ["bash", "-c", script, program, *FLAGS, f"--user-data-dir={profile}"],
            pass_fds=(to_read, to_write),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_read)
        os.close(to_write)
        self._rest = b""
        self._number = 0
        self.events: list[tuple[str, dict]] = []
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        attached = self.ask("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")

    _session: str | None = None

    def ask(self, method: str, **parameters: object) -> dict:
        self._number += 1
        command = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            command["sessionId"] = self._session
        os.write(self._write, json.dumps(command).encode() + b"\0")
        while True:
            message = self._receive()
            if message.get("id") == self._number:
                assert "error" not in message, message
                return message["result"]
            self.events.append((message["method"], message.get("params", {})))

    def _receive(self) -> dict:
        while b"\0" not in self._rest:
            piece = os.read(self._read, 1 << 16)
            assert piece, "the browser has ended"
            self._rest += piece
        text, self._rest = self._rest.split(b"\0", 1)
        return json.loads(text)

    def open(self, address: str, width: int, *, dark: bool) -> None:
        """Open a page on a screen of this width, and wait until it is loaded."""
        self.ask(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=800, deviceScaleFactor=1, mobile=width < 500,
        )  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.ask("Emulation.setEmulatedMedia", features=[scheme])
        self.events.clear()
        self.ask("Page.navigate", url=address)
        until = time.monotonic() + 30
        while self.value("document.readyState") != "complete" or "file:" not in self.value(
            "location.href"
        ):
            assert time.monotonic() < until
            time.sleep(0.05)

    def value(self, expression: str) -> object:
        asked = self.ask("Runtime.evaluate", expression=expression, returnByValue=True)
        return asked["result"].get("value")

    def happened(self, *names: str) -> list[dict]:
        return [parameters for name, parameters in self.events if name in names]

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(20)
        os.close(self._read)
        os.close(self._write)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    program = next((found for name in names if (found := shutil.which(name))), None)
    if program is None:
        pytest.skip(f"no browser: none of {', '.join(names)} is installed")
    opened = Browser(program, str(tmp_path_factory.mktemp("profile")))
    yield opened
    opened.close()


CONTRAST = """
(() => {
  const parse = c => (c.match(/[\\d.]+/g) || []).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
    .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = e => {
    const layers = [];
    for (; e; e = e.parentElement) {
      const c = parse(getComputedStyle(e).backgroundColor);
      const alpha = c.length > 3 ? c[3] : 1;
      if (alpha > 0) layers.push([c, alpha]);
      if (alpha === 1) break;
    }
    return layers.reverse().reduce((under, [c, a]) =>
      under.map((u, i) => u * (1 - a) + c[i] * a), [255, 255, 255]);
  };
  let worst = [99, ""];
  for (const e of document.querySelectorAll("body *")) {
    if (![...e.childNodes].some(n => n.nodeType === 3 && n.data.trim())) continue;
    const [a, b] = [light(parse(getComputedStyle(e).color)), light(behind(e))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < worst[0]) worst = [ratio, e.outerHTML.slice(0, 120)];
  }
  return worst;
})()
"""


@pytest.mark.parametrize("which", ["report", "hostile"])
@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [390, 1280])
def test_a_browser_shows_it_without_a_complaint(browser, request, which, width, dark):
    path = request.getfixturevalue(which)
    browser.open(path.as_uri(), width, dark=dark)
    assert browser.happened("Runtime.consoleAPICalled", "Runtime.exceptionThrown") == []
    assert browser.happened("Log.entryAdded") == []
    asked = [e["request"]["url"] for e in browser.happened("Network.requestWillBeSent")]
    assert [url[:60] for url in asked if not url.startswith(("data:", path.as_uri()))] == []
    assert browser.value("innerWidth") == width
    clear = browser.value("document.documentElement.clientWidth")  # less a scroll bar
    assert browser.value("document.documentElement.scrollWidth") == clear
    broken = "[...document.images].filter(i => !i.complete || !i.naturalWidth).length"
    assert browser.value(broken) == 0
    assert browser.value("document.images.length") == 4
    drawn = "document.images[0].currentSrc === document.images[0].src"
    assert browser.value(drawn) is (width > 640)
    ratio, where = browser.value(CONTRAST)
    assert ratio >= 4.5, where
