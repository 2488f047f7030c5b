"""Calls in fresh processes."""

import operator
import os
import pickle
import signal
import time

import pytest

from sigprop_snn.processes import CallFailedError, FreshProcesses


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
    with pytest.raises(CallFailedError, match="ended with code 3 and no result"):
        processes.call(os._exit, 3)
    with pytest.raises(CallFailedError, match="ended by SIGKILL, often for want of memory"):
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
