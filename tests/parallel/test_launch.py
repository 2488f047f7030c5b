"""Starting processes: flags, signals, exit codes, and the command line as a whole."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from sigprop_snn.command_line import cli
from sigprop_snn.errors import SigpropError
from sigprop_snn.processes import launch


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


def test_torchrun_and_processes_write_the_run_of_one_process(run_ranks):
    """Two processes of torchrun begin a run, and two of `--processes` finish it."""
    code, different, figures, said = run_ranks("train_jobs.launched:1")["train_jobs.launched:1"]
    assert code == 0 and different == []
    assert said.count("epoch 2/2") == 1 and said.count("test accuracy") == 2
    assert "curves.png" in figures
