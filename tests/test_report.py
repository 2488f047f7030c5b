"""The report of a run: whole, escaped, atomic, and shown by a browser without a complaint."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from PIL import Image

from sigprop_snn.cli import main
from sigprop_snn.errors import SigpropError
from sigprop_snn.report import write_report
from sigprop_snn.report.folder import read_contents
from sigprop_snn.report.html import Html, element
from sigprop_snn.report.measure import Confusion, confusion_of
from sigprop_snn.report.numbers import file_size, percent, short, spoken
from sigprop_snn.training import TrainConfig, train

SMALL = {"epochs": 2, "steps": 4, "train_samples": 100, "test_samples": 30}
SECTIONS = [
    "Health", "Learning", "One sample", "Voltages", "Confusion", "Cost", "Configuration", "Files",
]  # fmt: skip
HOSTILE = "<img src=x onerror=alert(1)> $\\frac$ \"quote' &amp;"


def quiet(_: str) -> None:
    """Takes the lines of a run and says nothing."""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    return train(TrainConfig("digits", out=out, **SMALL), say=quiet)


@pytest.fixture(scope="module")
def report(run):
    return write_report(run.folder.path)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """A report of a run whose class, file and settings are named to do harm."""
    root = tmp_path_factory.mktemp("hostile")
    noise = np.random.default_rng(0)
    for split in ("train", "test"):
        for name in (HOSTILE.replace("/", ""), "plain"):
            folder = root / "pictures" / split / name
            folder.mkdir(parents=True)
            for number in range(4):
                pixels = noise.integers(0, 256, (8, 8), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.png")
    config = TrainConfig(
        "imagefolder", data_root=root / "pictures", out=root / "run", network="mlp", epochs=1,
        steps=3,
    )  # fmt: skip
    train(config, say=quiet)
    (root / "run" / "<script>alert(2)<.txt").write_text("")
    return write_report(root / "run")


class Page(HTMLParser):
    """What stands in a page: its elements, and the text that a person reads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag not in ("meta", "link", "img", "source"):
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if "style" not in self._open:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]


def test_the_page_tells_the_whole_run(run, report):
    page = Page(report.read_text(encoding="utf-8"))
    assert report == run.folder.path / "report.html"
    ids = {attributes.get("id") for _, attributes in page.found}
    for title in SECTIONS:
        name = title.lower().replace(" ", "-")
        assert {name, f"{name}-title"} <= ids
        assert {"href": f"#{name}"} in page.all("a")
    accuracy = run.history[-1]["test_accuracy"]
    assert f"Test accuracy {percent(accuracy)} 30 samples" in page.text
    for said in ("digits, mlp, voltage rule", "seed 0", "Horowitz, ISSCC 2014", "checkpoint.pt"):
        assert said in page.text
    for name, value in (("batch_size", "32"), ("train_samples", "100"), ("neuron", "lif")):
        assert f"{name} {value}" in page.text


def test_nothing_comes_from_elsewhere(report):
    text = report.read_text(encoding="utf-8")
    page = Page(text)
    assert page.all("script") == []
    assert "default-src 'none'" in text
    for _, attributes in page.found:
        for key in ("src", "srcset", "href"):
            value = attributes.get(key)
            assert value is None or value.startswith(("data:", "#")), value[:80]
    assert "@import" not in text
    assert "url(" not in text
    assert len(text) < 3_000_000


def test_every_picture_says_what_it_shows(report):
    page = Page(report.read_text(encoding="utf-8"))
    pictures = page.all("img")
    assert len(pictures) == 4
    assert all(len(picture["alt"]) > 30 for picture in pictures)
    assert len(page.all("source")) == 4  # each is drawn for a narrow screen too
    assert page.all("html") == [{"lang": "en"}]
    assert len(page.all("h1")) == 1


def test_what_would_do_harm_is_text(hostile):
    text = hostile.read_text(encoding="utf-8")
    page = Page(text)
    name = HOSTILE.replace("/", "")
    assert name in page.text
    assert "<script>alert(2)<.txt" in page.text
    assert page.all("script") == []
    assert all("onerror" not in picture for picture in page.all("img"))
    assert all(picture["src"].startswith("data:") for picture in page.all("img"))
    assert len(page.all("img")) == 4  # a dollar in a class's name spoils no picture


def test_without_its_data_the_folder_is_shown(tmp_path, run):
    copy = tmp_path / "run"
    shutil.copytree(run.folder.path, copy)
    config = json.loads((copy / "config.json").read_text())
    config |= {"dataset": "imagefolder", "data_root": str(tmp_path / "gone <b>")}
    (copy / "config.json").write_text(json.dumps(config))
    figures = copy / "figures"
    figures.mkdir(exist_ok=True)
    Image.new("RGB", (20, 10)).save(figures / "raster.png")
    page = Page(write_report(copy).read_text(encoding="utf-8"))
    assert "The network could not be run again" in page.text
    assert "gone <b>" in page.text
    titles = [attributes["href"] for attributes in page.all("a")]
    assert titles == ["#health", "#learning", "#one-sample", "#configuration", "#files"]
    assert "raster.png, as the run drew it" in page.text
    assert f"Test accuracy {percent(run.history[-1]['test_accuracy'])}" in page.text


@pytest.mark.parametrize("name", ["config.json", "metrics.jsonl", "summary.json"])
@pytest.mark.parametrize("content", [None, b"", b"{", b"[1, 2]", b"\xff\x00", b"[" * 10**5])
def test_what_can_be_read_is_read(tmp_path, run, name, content):
    copy = tmp_path / "run"
    shutil.copytree(run.folder.path, copy)
    whole = read_contents(copy)
    assert whole.notes == []
    assert whole.history == run.history
    (copy / name).unlink() if content is None else (copy / name).write_bytes(content)
    found = read_contents(copy)
    lost = {"config.json": "config", "metrics.jsonl": "history", "summary.json": "summary"}[name]
    assert not getattr(found, lost)
    for kept in ("config", "history", "summary"):
        assert getattr(found, kept) in (getattr(whole, kept), {}, [])
    # A run has no summary until it ends, and no metrics until its first epoch does.
    silent = (name, content) in (("summary.json", None), ("metrics.jsonl", b""))
    assert (found.notes == []) == silent
    assert all(note.startswith((name, f"a line of {name}")) for note in found.notes)


@pytest.mark.parametrize("content", [None, b"half of it"])
def test_a_damaged_checkpoint_is_told_of(tmp_path, run, content):
    copy = tmp_path / "run"
    shutil.copytree(run.folder.path, copy)
    (copy / "checkpoint.pt").unlink() if content is None else (
        (copy / "checkpoint.pt").write_bytes(content)
    )
    page = Page(write_report(copy).read_text(encoding="utf-8"))
    assert "The network could not be run again" in page.text
    assert "checkpoint" in page.text
    assert "batch_size 32" in page.text
    assert f"Test accuracy {percent(run.history[-1]['test_accuracy'])}" in page.text


def test_figures_in_the_metrics_that_are_none_are_left_out(tmp_path, run):
    copy = tmp_path / "run"
    shutil.copytree(run.folder.path, copy)
    (copy / "checkpoint.pt").unlink()
    odd = {"epoch": "<b>", "test_accuracy": "high", "loss": None, "seconds": True, "layers": 3}
    (copy / "metrics.jsonl").write_text(json.dumps(odd) + "\n")
    page = Page(write_report(copy).read_text(encoding="utf-8"))
    assert "This picture can't be drawn" in page.text
    assert page.all("b") == []


def test_a_place_without_a_run_is_refused(tmp_path):
    with pytest.raises(SigpropError, match=re.escape(f"no run at {str(tmp_path)!r}")):
        write_report(tmp_path)


def test_the_page_is_written_whole_or_not_at_all(tmp_path, run, monkeypatch):
    out = tmp_path / "page.html"
    out.write_text("old")
    monkeypatch.setattr("sigprop_snn.report.gather", lambda *_, **__: None)
    monkeypatch.setattr("sigprop_snn.report.page", lambda _: "new")
    with pytest.raises(SigpropError, match=r"expected a name that ends in '\.html'"):
        write_report(run.folder.path, tmp_path / "page.txt")
    (tmp_path / "folder.html").mkdir()
    with pytest.raises(SigpropError, match="can't be written"):
        write_report(run.folder.path, tmp_path / "folder.html")

    def broken(*_: object, **__: object) -> None:
        raise OSError("no space left on device")

    with monkeypatch.context() as patched, pytest.raises(SigpropError, match="no space left"):
        patched.setattr("pathlib.Path.write_text", broken)
        write_report(run.folder.path, out)
    assert out.read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder.html", "page.html"]


def test_the_command_writes_it_and_refuses_in_a_line(tmp_path, run, capsys):
    out = tmp_path / "page.html"
    assert main(["report", str(run.folder.path), "--out", str(out), "--samples", "10"]) == 0
    assert capsys.readouterr().out == f"report: {out}\n"
    assert "samples" in out.read_text(encoding="utf-8")
    for arguments, message in (
        ([str(tmp_path / "nowhere")], "no run at"),
        ([str(run.folder.path), "--samples", "0"], "samples is 0; expected 1 or more"),
        ([str(run.folder.path), "--out", "page.pdf"], "expected a name that ends in '.html'"),
    ):
        assert main(["report", *arguments]) == 2
        said = capsys.readouterr().err
        assert said.startswith("sigprop-snn: ")
        assert message in said
        assert said.count("\n") == 1
    assert not (tmp_path / "nowhere").exists()


def test_ties_stand_in_no_column():
    class Network(torch.nn.Linear):
        def forward(self, inputs):
            return inputs.mean(0)

    scores = torch.tensor([[2.0, 1.0, 0.0], [0.0, 1.0, 1.0], [0.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    found = confusion_of(Network(1, 1), [(scores[None], torch.tensor([0, 1, 0, 1]))], 3)
    assert found.counts.tolist() == [[1, 0, 0], [0, 0, 1], [0, 0, 0]]
    assert found.ties.tolist() == [1, 1, 0]
    assert found.samples == 4
    assert found.accuracy == 0.25
    assert Confusion(torch.zeros(2, 2), torch.zeros(2)).accuracy == 0.0


def test_markup_is_escaped_once():
    inside = element("b", "a < b & c")
    assert inside == "<b>a &lt; b &amp; c</b>"
    assert element("p", inside, '"') == "<p><b>a &lt; b &amp; c</b>&quot;</p>"
    assert element("img", alt='"><script>', class_="x", id=None) == (
        '<img alt="&quot;&gt;&lt;script&gt;" class="x">'
    )
    assert isinstance(inside, Html)


def test_numbers_read_as_a_person_says_them():
    assert [short(n) for n in (0, 999, 9999, 12345, 1234567, 2.5e9)] == [
        "0", "999", "9,999", "12.3 k", "1.23 M", "2.5 G",
    ]  # fmt: skip
    assert [percent(s) for s in (0.0, 0.0123, 0.5, 1.0)] == ["0.0 %", "1.23 %", "50.0 %", "100.0 %"]
    assert [spoken(s) for s in (0.5, 89.0, 600.0, 7200.0)] == ["0.5 s", "89 s", "10 min", "2 h"]
    assert [file_size(n) for n in (12, 2048, 3 << 20)] == ["12 bytes", "2 KiB", "3 MiB"]


def test_hidden_files_are_not_listed(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / ".config.json.x").write_text("")
    assert [file.name for file in read_contents(tmp_path).files] == ["config.json"]


# Browser


FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--remote-debugging-pipe",
]  # fmt: skip


class Browser:
    """Chromium, spoken to over a pipe: commands in, answers and events out."""

    def __init__(self, program: str, profile: str) -> None:
        to_read, self._write = os.pipe()
        self._read, to_write = os.pipe()
        # The browser listens on descriptor 3 and answers on 4, whatever they are here.
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
        said = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            said["sessionId"] = self._session
        os.write(self._write, json.dumps(said).encode() + b"\0")
        while True:
            heard = self._hear()
            if heard.get("id") == self._number:
                assert "error" not in heard, heard
                return heard["result"]
            self.events.append((heard["method"], heard.get("params", {})))

    def _hear(self) -> dict:
        while b"\0" not in self._rest:
            piece = os.read(self._read, 1 << 16)
            assert piece, "the browser has gone"
            self._rest += piece
        message, self._rest = self._rest.split(b"\0", 1)
        return json.loads(message)

    def open(self, address: str, width: int, *, dark: bool) -> None:
        """Open a page as a screen of this width shows it, and wait until it is there."""
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
