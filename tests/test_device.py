"""The device by name, and the memory of the process."""

import math
import subprocess
import sys

import pytest
import torch

from sigprop_snn import device
from sigprop_snn.device import chosen_device, fast_convolutions, step_memory_mb
from sigprop_snn.errors import SigpropError
from sigprop_snn.training import peak_memory_mb


def test_a_device_has_a_name():
    assert chosen_device("cpu") == torch.device("cpu")
    assert chosen_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize("name", ["gpu", "", "cuda:x", "meta", "cuda:99", "xpu:7"])
def test_a_device_that_does_not_exist_is_refused_by_its_name(name):
    with pytest.raises(SigpropError, match=f"device '{name}' .*expected 'auto', 'cpu'"):
        chosen_device(name)


def test_peak_memory_is_at_least_the_memory_in_use():
    held = torch.ones(2**24)  # 64 MiB, every page of it touched
    assert peak_memory_mb(torch.device("cpu")) > held.nbytes / 2**20


def test_the_memory_of_a_step_is_the_most_that_it_holds_at_a_time():
    def step():
        for _ in range(3):  # two of 4 MiB at a time; what lies before counts not
            torch.ones(2**20) + 1

    held = torch.ones(2**24)
    assert step_memory_mb(step, torch.device("cpu")) == pytest.approx(8, abs=0.1)
    assert step_memory_mb(lambda: held.sum(), torch.device("cpu")) < 0.1


def test_peak_memory_is_nan_on_a_system_that_does_not_count_it(monkeypatch):
    monkeypatch.setattr(device, "resource", None)
    assert math.isnan(peak_memory_mb(torch.device("cpu")))


def test_freed_memory_is_kept_if_the_c_library_supports_it():
    program = """
import resource, torch
from sigprop_snn.training import keep_freed_memory
kept = keep_freed_memory()
for _ in range(8):  # the heap grows until a block fits between what others hold
    torch.ones(2**24)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    torch.ones(2**24)
faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(int(kept), faults)
"""
    # In another process, because the setting can't be undone.
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    kept, faults = map(int, done.stdout.split())
    if not kept:
        pytest.skip("this C library has no such setting")
    assert faults < 2**14 // 4  # five blocks have 5 * 2**14 pages of 4 KiB


def test_convolutions_are_timed_on_a_gpu_only_and_not_where_results_are_fixed(monkeypatch):
    cudnn = torch.backends.cudnn
    with fast_convolutions(torch.device("cuda")):
        assert cudnn.benchmark
    assert not cudnn.benchmark
    with fast_convolutions(torch.device("cpu")):
        assert not cudnn.benchmark
    monkeypatch.setattr(cudnn, "deterministic", True)
    with fast_convolutions(torch.device("cuda")):
        assert not cudnn.benchmark
