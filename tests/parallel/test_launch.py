"""Starting processes: flags, signals, exit codes, and the command line as a whole."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch

import sigprop_snn
from sigprop_snn import cli, launch
from sigprop_snn.errors import SigpropError
from sigprop_snn.training import TrainConfig, load_checkpoint, train

ROOT = Path(sigprop_snn.__file__).resolve().parent.parent


@pytest.mark.parametrize(
    ("parallel", "stages", "processes", "expected"),
    [
        (None, "auto", 3, {"stages": "auto", "replicas": 1}),
        ("layers", "2,1", 2, {"stages": [2, 1], "replicas": 1}),
        ("data", "auto", 4, {"stages": "auto", "replicas": 4}),
        ("2x3", "auto", 6, {"stages": "auto", "replicas": 3}),
    ],
)
def test_flags_say_how_processes_share_a_run(parallel, stages, processes, expected):
    assert launch.layout(parallel, stages, processes) == expected


@pytest.mark.parametrize("flag", [{"parallel": "data"}, {"stages": "2,2"}])
def test_flags_of_several_processes_are_refused_for_one(flag, monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    (name, value), *_ = flag.items()
    with pytest.raises(SigpropError, match=f"--{name} is '{value}' for one process"):
        launch.Processes(**flag).settings()


@pytest.mark.parametrize(
    ("parallel", "stages", "processes", "parts"),
    [
        ("rows", "auto", 2, ("'rows'", "layers, data")),
        ("2x2", "auto", 3, ("'2x2'", "3 processes", "4")),
        ("layers", "two", 2, ("'two'", "3,2,3")),
    ],
)
def test_flags_that_do_not_fit_are_refused(parallel, stages, processes, parts):
    with pytest.raises(SigpropError) as refused:
        launch.layout(parallel, stages, processes)
    assert all(part in str(refused.value) for part in parts)


@pytest.fixture
def ranks(monkeypatch):
    """Lets `launch` start one line of Python in each rank."""

    def use(*programs: str) -> None:
        started = subprocess.Popen

        def popen(command, env, **settings):
            program = programs[int(env["RANK"])]
            return started([sys.executable, "-c", program], env=env, **settings)

        monkeypatch.setattr(launch.subprocess, "Popen", popen)

    return use


SLEEPS = "import time; time.sleep(60)"


def test_all_processes_get_their_rank_and_the_same_store(ranks, tmp_path):
    write = (
        "import os, pathlib; pathlib.Path(os.environ['PLACE'], os.environ['RANK']).write_text("
        "os.environ['WORLD_SIZE'] + os.environ['SIGPROP_STORE'])"
    )
    os.environ["PLACE"] = str(tmp_path)
    try:
        ranks(write, write)
        assert launch.launch(2, []) == 0
    finally:
        del os.environ["PLACE"]
    first, second = ((tmp_path / rank).read_text() for rank in "01")
    assert first == second and first.startswith("2")


def test_the_exit_code_of_the_process_that_fails_ends_the_others(ranks, monkeypatch, capfd):
    monkeypatch.setattr(launch, "_GRACE", 0.2)
    ranks(SLEEPS, "raise SystemExit(3)")
    assert launch.launch(2, []) == 3
    assert "rank 0 does not end" in capfd.readouterr().err


def test_a_killed_process_is_named(ranks, monkeypatch, capfd):
    monkeypatch.setattr(launch, "_GRACE", 0.2)
    ranks(SLEEPS, "import os; os.kill(os.getpid(), 9)")
    assert launch.launch(2, []) == 1
    assert "rank 1 was ended by SIGKILL" in capfd.readouterr().err


def test_a_signal_is_passed_on_to_all_processes(ranks):
    waits = (
        "import signal, time; signal.signal(signal.SIGTERM, lambda *_: exit(143)); time.sleep(60)"
    )
    ranks(waits, waits)

    def stop() -> None:
        time.sleep(1.0)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=stop)
    thread.start()
    assert launch.launch(2, []) == 143
    thread.join()


@pytest.mark.parametrize(
    ("rank", "lost", "speaks"), [(0, None, True), (1, None, False), (0, 0, False), (1, 0, True)]
)
def test_one_process_says_an_error(monkeypatch, capsys, rank, lost, speaks):
    monkeypatch.setenv("RANK", str(rank))
    monkeypatch.setenv("WORLD_SIZE", "3")
    cli._say_of_rank("rank 0 has ended", lost)
    assert ("rank 0 has ended" in capsys.readouterr().err) == speaks


WORDS = {
    "network": "conv", "steps": 4, "batch_size": 16, "train_samples": 40, "test_samples": 20,
    "device": "cpu", "schedule": "constant",
}  # fmt: skip


def command(folder: Path, *words: str, start: tuple[str, ...] = ()) -> str:
    done = subprocess.run(
        [sys.executable, *start, "-m", "sigprop_snn", *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_torchrun_and_processes_write_the_run_of_one_process(tmp_path):
    """Two processes of torchrun begin a run, and two of `--processes` finish it."""
    train(TrainConfig("digits", epochs=2, out=tmp_path / "alone", **WORDS), say=lambda line: None)
    flags = [text for key, value in WORDS.items() for text in (f"--{key}", str(value))]
    flags = [flag.replace("_", "-") for flag in flags]
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    command(
        tmp_path, "train", "digits", *flags, "--epochs", "1", "--out", "together", start=torchrun
    )
    said = command(
        tmp_path, "resume", "together", "--epochs", "2", "--processes", "2", "--stages", "1,2"
    )
    assert said.count("epoch 2/2") == 1 and said.count("test accuracy") == 2
    alone, together = (
        load_checkpoint(tmp_path / name / "checkpoint.pt") for name in ("alone", "together")
    )
    for name, value in alone["network"].items():
        assert torch.equal(value, together["network"][name]), name
    assert (tmp_path / "together" / "figures" / "curves.png").exists()
