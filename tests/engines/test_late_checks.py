"""Checks raise their error at once on a CPU, and in a later call on a GPU."""

from __future__ import annotations

import pytest
import torch

from sigprop_snn.errors import SigpropError
from sigprop_snn.neurons.engines import late

CPU = torch.device("cpu")


class Moment:
    """Stands for the event of a GPU: the flag is known when `passed` is true."""

    def __init__(self, passed):
        self.passed = passed
        self.waited = False

    def query(self):
        return self.passed

    def synchronize(self):
        self.waited = True


@pytest.fixture(autouse=True)
def nothing_waits():
    late._waiting.clear()
    yield
    late._waiting.clear()


def wait_for(failed, passed, name="it failed"):
    moment = Moment(passed)
    late._waiting.append(late._Check(torch.tensor(failed), moment, lambda: SigpropError(name)))
    return moment


def test_a_check_on_a_cpu_raises_at_once():
    late.refuse_if(lambda: torch.tensor(False), lambda: SigpropError("no"), CPU)
    with pytest.raises(SigpropError, match="yes"):
        late.refuse_if(lambda: torch.tensor(True), lambda: SigpropError("yes"), CPU)


def test_a_closer_look_may_find_nothing_wrong():
    late.refuse_if(lambda: torch.tensor(True), lambda: None, CPU)


def test_a_failed_check_raises_when_it_is_known():
    moment = wait_for(failed=True, passed=False)
    late.raise_late(most=1)  # may go on waiting
    moment.passed = True
    with pytest.raises(SigpropError, match="it failed"):
        late.raise_late(most=1)
    late.raise_late()  # the error came once


def test_too_many_checks_wait_for_the_oldest():
    oldest = wait_for(failed=False, passed=False)
    newest = wait_for(failed=False, passed=False)
    late.raise_late(most=1)
    assert oldest.waited and not newest.waited


def test_reading_a_result_raises_the_error_of_its_batch():
    from sigprop_snn.network import LayerReport

    report = LayerReport("block1", torch.tensor(0.5), torch.tensor(3))
    assert (report.loss, report.correct) == (0.5, 3)
    wait_for(failed=True, passed=False, name="input is nan")
    with pytest.raises(SigpropError, match="input is nan"):
        _ = report.loss
