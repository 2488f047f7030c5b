"""Calls in fresh processes."""

import operator
import os
import pickle
import signal
import sys
import time

import pytest

import sigprop_snn
from sigprop_snn.processes.calls import CallFailedError, FreshProcesses


@pytest.fixture(scope="module")
def processes():
    with FreshProcesses() as processes:
        yield processes


def test_every_call_has_a_process_of_its_own(processes):
    found = {os.getpid(), *(processes.call(os.getpid) for _ in range(3))}
    assert len(found) == 4


def test_an_error_and_a_death_of_the_process_are_told_and_the_next_call_works(processes):
    with pytest.raises(CallFailedError, match="ZeroDivisionError"):
        processes.call(operator.truediv, 1, 0)
    with pytest.raises(CallFailedError, match="code 3"):
        processes.call(os._exit, 3)
    with pytest.raises(CallFailedError, match="ended by SIGKILL"):
        processes.call(signal.raise_signal, signal.SIGKILL)
    assert processes.call(operator.add, 1, 2) == 3


def test_what_a_call_prints_is_no_answer(processes):
    assert processes.call(print, "words") is None
    assert processes.call(os.write, 1, b"more words") == 10


def test_a_call_ends_with_its_caller():
    with FreshProcesses() as processes:
        server = processes._running()
        pickle.dump((time.sleep, (600,)), server.stdin)
        server.stdin.flush()
    assert server.returncode == 0


@pytest.mark.parametrize("searched", [False, True])
def test_the_processes_import_the_package_of_their_caller(tmp_path, monkeypatch, searched):
    """Another sigprop_snn in the current folder is ignored, even if sys.path has this folder."""
    decoy = tmp_path / "sigprop_snn"
    decoy.mkdir()
    (decoy / "__init__.py").write_text("raise RuntimeError('the decoy was imported')")
    monkeypatch.chdir(tmp_path)
    if searched:
        monkeypatch.setattr(sys, "path", ["", *sys.path])  # as in an interactive session
    else:
        (tmp_path / "pickle.py").write_text("raise RuntimeError('the decoy was imported')")
    with FreshProcesses() as processes:
        found = processes.call(eval, "__import__('sigprop_snn').__file__")
    assert found == sigprop_snn.__file__


def test_the_processes_import_the_modules_of_their_caller(tmp_path, monkeypatch):
    (tmp_path / "the_callers_own.py").write_text("def answer():\n    return 42\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    import the_callers_own

    with FreshProcesses(preload=["the_callers_own"]) as processes:
        assert processes.call(the_callers_own.answer) == 42


def test_an_error_does_not_wait_for_the_imports_of_the_server(tmp_path, monkeypatch):
    (tmp_path / "slow_to_import.py").write_text("import time\ntime.sleep(60)\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr("sigprop_snn.processes.calls._PATIENCE", 0.1)
    with pytest.raises(KeyboardInterrupt), FreshProcesses(["slow_to_import"]) as slow:
        server = slow._running()
        raise KeyboardInterrupt
    assert server.returncode == -signal.SIGKILL
