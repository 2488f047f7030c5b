"""The command ends in a sentence, not a traceback, whatever happens around the process."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch

from sigprop_snn.command_line.cli import main
from sigprop_snn.device import named_memory_errors
from sigprop_snn.errors import SigpropError
from sigprop_snn.training import TrainConfig, train

ROOT = Path(__file__).parent.parent.parent
COMMAND = [sys.executable, "-m", "sigprop_snn"]
TINY = ["--epochs", "1", "--train-samples", "60", "--test-samples", "20", "--steps", "3"]


def start(*arguments, **settings):
    return subprocess.Popen(
        [*COMMAND, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **settings,
    )


def test_a_run_goes_on_when_nobody_reads_its_output(tmp_path, monkeypatch, capsys, no_figures):
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as unread:
        monkeypatch.setattr(sys, "stdout", unread)
        assert (
            main(["train", "digits", *TINY, "--epochs", "2", "--out", str(tmp_path / "run")]) == 0
        )
    assert "the run goes on" in capsys.readouterr().err
    assert (tmp_path / "run" / "summary.json").exists()


@pytest.mark.parametrize("arguments", [["list"], ["--help"], ["train", "--help"]])
def test_a_short_output_ends_in_silence_when_nobody_reads_it(arguments):
    run = start(*arguments)
    run.stdout.close()
    assert (run.stderr.read(), run.wait(300)) == ("", 0)


def test_ctrl_c_while_the_command_is_imported_prints_no_traceback():
    code = """
import builtins, os, signal, sys
from sigprop_snn.command_line.start import main
real = builtins.__import__
def stopped(name, *rest, **more):
    if name == "tyro":
        os.kill(os.getpid(), signal.SIGINT)
    return real(name, *rest, **more)
builtins.__import__ = stopped
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.exit(main())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (-signal.SIGINT, "")


def test_a_closed_terminal_saves_the_run(tmp_path):
    """The command runs in the clone's root, where folders have the names of packages."""
    out = tmp_path / "run"
    run = start("train", "digits", *TINY, "--epochs", "10000", "--out", str(out), cwd=ROOT)
    while "epoch 1" not in run.stdout.readline():
        assert run.poll() is None
    run.send_signal(signal.SIGHUP)
    _, error = run.communicate(timeout=300)
    assert run.returncode == 128 + signal.SIGHUP
    assert "everything is saved" in error


def test_a_home_folder_is_found_everywhere(tmp_path, monkeypatch, capsys, no_pictures):
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path("~/.cache").expanduser())
    monkeypatch.setenv("XDG_CACHE_HOME", cache)  # kernels compiled before are found again
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.json").write_text('{"dataset": "digits", "out": "~/run"}')
    with monkeypatch.context() as faster:
        faster.setattr("sigprop_snn.figures.draw_run", lambda *_: [])
        assert main(["train", "--config", "config.json", *TINY]) == 0
        again = ["train", "--config", "~/run/config.json", *TINY, "--out", "~/again"]
        assert main(again) == 0, capsys.readouterr().err
        assert main(["resume", "~/run"]) == 0, capsys.readouterr().err
    for arguments in (
        ["evaluate", "~/run", "--out", "~/e.json"],
        ["report", "~/run", "--out", "~/r.html"],
        ["plot", "~/run", "--out", "~/p"],
    ):
        assert main(arguments) == 0, capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {"config.json", "home"}
    made = {path.name for path in (tmp_path / "home").iterdir()} - {".cache", ".config"}
    assert made == {"run", "e.json", "r.html", "p", "again"}


def test_a_config_may_begin_with_a_byte_order_mark(tmp_path, no_figures):
    config = tmp_path / "config.json"
    config.write_text('{"dataset": "digits"}', encoding="utf-8-sig")
    assert main(["train", "--config", str(config), *TINY, "--out", str(tmp_path / "run")]) == 0


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run with its figures. Tests must not write to it."""
    out = tmp_path_factory.mktemp("finished") / "run"
    assert main(["train", "digits", *TINY, "--out", str(out)]) == 0
    return out


@pytest.fixture
def run(finished, tmp_path):
    """A copy of the finished run."""
    return shutil.copytree(finished, tmp_path / "run")


def test_plots_of_other_samples_and_layers_have_their_own_files(run, capsys):
    before = (run / "figures" / "raster.png").read_bytes()
    flags = ["--sample", "5", "--layer", "block2", "--format", "svg", "--dpi", "80"]
    assert main(["plot", str(run), *flags]) == 0
    drawn = {path.name for path in (run / "figures").glob("*.svg")}
    assert drawn == {"raster-sample5.svg", "voltage-block2-sample5.svg", "curves.svg"}
    assert (run / "figures" / "raster.png").read_bytes() == before
    capsys.readouterr()
    assert main(["plot", str(run), "--layer", "block9"]) == 2
    assert "unknown layer 'block9'" in capsys.readouterr().err


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write everywhere")
@pytest.mark.parametrize("command", ["plot", "report", "resume"])
def test_a_read_only_run_is_named(run, capsys, command):
    (run / "summary.json").unlink()
    folders = [run, run / "figures"]
    for folder in folders:
        folder.chmod(0o555)
    try:
        assert main([command, str(run)]) == 2
    finally:
        for folder in folders:
            folder.chmod(0o755)
    assert "can't be written" in capsys.readouterr().err


def test_the_reason_of_a_failed_write_survives_a_failed_clean_up(run, monkeypatch, capsys):
    def fail(*_, **__):
        raise OSError(30, "Read-only file system")

    shutil.rmtree(run / "figures")
    monkeypatch.setattr("pathlib.Path.replace", fail)
    monkeypatch.setattr("pathlib.Path.unlink", fail)
    assert main(["plot", str(run)]) == 2
    assert "raster.png' can't be written (Read-only file system)" in capsys.readouterr().err


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
    ],
)
def test_memory_that_runs_out_is_named_with_what_to_lower(error):
    with pytest.raises(SigpropError, match=r"memory ran out.*batch_size"), named_memory_errors():
        raise error


def test_too_large_a_batch_is_an_error_of_memory_not_of_shape(tmp_path):
    with pytest.raises(SigpropError, match=r"memory ran out.*batch_size"):
        train(
            TrainConfig("digits", steps=2**40, epochs=1, device="cpu", out=tmp_path / "run"),
            lambda _: None,
        )
    assert not (tmp_path / "run").exists()


def test_runs_in_two_threads_give_what_each_gives_alone(tmp_path):
    def run(name, seed):
        config = TrainConfig(
            "digits", neuron="lif-noise", seed=seed, epochs=1, steps=3, train_samples=60,
            test_samples=20, device="cpu", out=tmp_path / name,
        )  # fmt: skip
        return train(config, lambda _: None).network.state_dict()

    alone = [run(f"alone{seed}", seed) for seed in (1, 2)]
    found = {}
    threads = [
        threading.Thread(target=lambda seed=seed: found.update({seed: run(f"t{seed}", seed)}))
        for seed in (1, 2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for weights, seed in zip(alone, (1, 2), strict=True):
        for name, value in weights.items():
            assert torch.equal(value, found[seed][name]), name
