"""The report of a run: complete, escaped, and written in full or not at all."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

from sigprop_snn.analysis import depth_profile
from sigprop_snn.command_line.cli import main
from sigprop_snn.errors import SigpropError
from sigprop_snn.machine import machine
from sigprop_snn.report import write_report
from sigprop_snn.report.measure import read_contents
from sigprop_snn.report.sections import health
from sigprop_snn.report.style import percent
from sigprop_snn.training import load_run
from sigprop_snn.version import version

SECTIONS = [
    "Health", "Learning", "Depth", "One sample", "Voltages", "Confusion matrix", "Cost",
    "Configuration", "Files",
]  # fmt: skip


@pytest.fixture
def copy(tmp_path, run):
    """A copy of the run folder."""
    return shutil.copytree(run.folder.path, tmp_path / "run")


def test_the_page_has_every_section_and_the_results(run, report, read_page):
    page = read_page(report)
    assert report == run.folder.path / "report.html"
    ids = {attributes.get("id") for _, attributes in page.elements}
    for title in SECTIONS:
        name = title.lower().replace(" ", "-")
        assert {name, f"{name}-title"} <= ids
        assert {"href": f"#{name}"} in page.all("a")
    accuracy = run.history[-1]["test_accuracy"]
    assert f"Test accuracy {percent(accuracy)} 30 samples" in page.text
    for words in ("digits, mlp, voltage rule", "seed 0", "Horowitz, ISSCC 2014", "checkpoint.pt"):
        assert words in page.text
    for name, value in (("batch_size", "32"), ("train_samples", "100"), ("neuron", "lif")):
        assert f"{name} {value}" in page.text


def test_the_depth_table_has_the_profile_of_every_block(run, report, read_page):
    trained = load_run(run.folder.path)
    train, test = list(trained.data.train), list(trained.data.test)
    text = read_page(report).text
    for block in depth_profile(trained.network, train, test):
        row = (
            f"{100 * block.context_accuracy:.1f} {100 * block.probe_accuracy:.1f} "
            f"{100 * block.spike_rate:.1f} {block.context_cosine:.2f} {block.context_rank:.1f} "
            f"{100 * block.mean_input_share:.0f}"
        )
        assert f"{block.name} {row}" in text


def test_the_page_names_the_versions_and_the_machine(report, read_page):
    text = read_page(report).text
    for words in (f"sigprop_snn {version()}", f"torch {torch.__version__}", machine()["system"]):
        assert words in text


def test_a_sound_network_is_described_with_its_dead_neurons(run, report):
    contents = read_contents(run.folder.path)
    layers = [{"name": "block1", "dead_fraction": 0.48}, {"name": "block2", "dead_fraction": 0.1}]
    measured = SimpleNamespace(findings=[], examined=30)
    told = SimpleNamespace(
        contents=replace(contents, summary={"layers": layers}), measured=measured, missing=""
    )
    text = str(health(told))
    assert "No problem found" in text
    assert "75.0 % dead" in text
    assert "48.0 %, in block1" in text


def test_the_page_loads_no_other_file(report, read_page):
    text = report.read_text(encoding="utf-8")
    page = read_page(report)
    assert page.all("script") == []
    assert "default-src 'none'" in text
    for _, attributes in page.elements:
        for key in ("src", "srcset", "href"):
            value = attributes.get(key)
            assert value is None or value.startswith(("data:", "#")), value[:80]
    assert "@import" not in text
    assert "url(" not in text
    assert len(text) < 3_000_000


def test_every_picture_has_a_description_and_a_narrow_version(report, read_page):
    page = read_page(report)
    pictures = page.all("img")
    assert len(pictures) == len(page.all("source")) == 4
    assert all(len(picture["alt"]) > 30 for picture in pictures)
    assert page.all("html") == [{"lang": "en"}]
    assert len(page.all("h1")) == 1


def test_markup_in_names_is_text(hostile, hostile_name, read_page):
    page = read_page(hostile)
    assert hostile_name in page.text
    assert "<script>alert(2)<.txt" in page.text
    assert page.all("script") == []
    assert all("onerror" not in picture for picture in page.all("img"))
    assert all(picture["src"].startswith("data:") for picture in page.all("img"))
    assert len(page.all("img")) == 4  # the dollar in a class's name breaks no picture


def test_without_its_data_the_page_shows_the_folder(run, copy, tmp_path, read_page):
    config = json.loads((copy / "config.json").read_text())
    config |= {"dataset": "imagefolder", "data_root": str(tmp_path / "gone <b>")}
    (copy / "config.json").write_text(json.dumps(config))
    figures = copy / "figures"
    figures.mkdir(exist_ok=True)
    Image.new("RGB", (20, 10)).save(figures / "raster.png")
    with pytest.warns(UserWarning, match="lacks what needs the network"):
        page = read_page(write_report(copy))
    assert "gone <b>" in page.text
    titles = [attributes["href"] for attributes in page.all("a")]
    assert titles == ["#health", "#learning", "#one-sample", "#configuration", "#files"]
    assert [picture["class"] for picture in page.all("img")] == ["drawn", "kept"]
    assert "raster.png" in page.all("img")[1]["alt"]
    assert f"Test accuracy {percent(run.history[-1]['test_accuracy'])}" in page.text


@pytest.mark.parametrize("content", [None, b"half of it"])
def test_a_damaged_checkpoint_is_reported(run, copy, content, read_page, no_pictures):
    (copy / "checkpoint.pt").unlink()
    if content is not None:
        (copy / "checkpoint.pt").write_bytes(content)
    with pytest.warns(UserWarning, match="lacks what needs the network.*checkpoint"):
        page = read_page(write_report(copy))
    assert "checkpoint" in page.text
    assert "batch_size 32" in page.text
    assert f"Test accuracy {percent(run.history[-1]['test_accuracy'])}" in page.text


@pytest.mark.parametrize(
    "odd",
    [
        {"epoch": "<b>", "test_accuracy": "high", "loss": None, "seconds": True, "layers": 3},
        {"epoch": 1, "layers": 3},
        {"epoch": 1, "layers": ["block1"]},
    ],
)
def test_values_in_the_metrics_that_are_no_numbers_are_left_out(copy, odd, read_page):
    (copy / "checkpoint.pt").unlink()
    (copy / "metrics.jsonl").write_text(json.dumps(odd) + "\n")
    with pytest.warns(UserWarning, match="lacks what needs the network"):
        page = read_page(write_report(copy))
    assert "history[0]" in page.text
    assert page.all("b") == []


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(SigpropError, match=re.escape(f"no run at {str(tmp_path)!r}")):
        write_report(tmp_path)


def test_the_page_is_written_in_full_or_not_at_all(tmp_path, run, monkeypatch):
    out = tmp_path / "page.html"
    out.write_text("old")
    monkeypatch.setattr("sigprop_snn.report.page.gather", lambda *_, **__: None)
    monkeypatch.setattr("sigprop_snn.report.page.page", lambda _: "new")
    with pytest.raises(SigpropError, match=r"page\.txt.*'\.html'"):
        write_report(run.folder.path, tmp_path / "page.txt")
    (tmp_path / "folder.html").mkdir()
    with pytest.raises(SigpropError, match=r"folder\.html"):
        write_report(run.folder.path, tmp_path / "folder.html")

    def fail(*_: object, **__: object) -> None:
        raise OSError("no space left on device")

    with monkeypatch.context() as patched, pytest.raises(SigpropError, match="no space left"):
        patched.setattr("pathlib.Path.write_text", fail)
        write_report(run.folder.path, out)
    assert out.read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder.html", "page.html"]
    assert write_report(run.folder.path, tmp_path / "new" / "page.html").read_text() == "new"


def test_a_tilde_is_the_home_folder(tmp_path, run, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("sigprop_snn.report.page.gather", lambda *_, **__: None)
    monkeypatch.setattr("sigprop_snn.report.page.page", lambda _: "new")
    assert write_report(run.folder.path, "~/r.html") == tmp_path / "r.html"


def test_the_command_writes_the_page_and_its_errors_take_one_line(
    tmp_path, run, capsys, read_page, no_pictures
):
    out = tmp_path / "page.html"
    assert main(["report", str(run.folder.path), "--out", str(out), "--samples", "10"]) == 0
    assert capsys.readouterr().out == f"report: {out}\n"
    assert {"id": "files-title"} in read_page(out).all("h2")
    for arguments, value in (
        ([str(tmp_path / "nowhere")], "nowhere"),
        ([str(run.folder.path), "--samples", "0"], "samples is 0"),
        ([str(run.folder.path), "--out", "page.pdf"], "page.pdf"),
    ):
        assert main(["report", *arguments]) == 2
        error = capsys.readouterr().err
        assert error.startswith("sigprop-snn: ")
        assert value in error
        assert error.count("\n") == 1
    assert not (tmp_path / "nowhere").exists()
