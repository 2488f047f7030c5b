"""The memory of the process."""

import subprocess
import sys

import pytest
import torch

from sigprop_snn.training import peak_memory_mb


def test_peak_memory_is_at_least_the_memory_in_use():
    held = torch.ones(2**24)  # 64 MiB, every page of it touched
    assert peak_memory_mb(torch.device("cpu")) > held.nbytes / 2**20


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
