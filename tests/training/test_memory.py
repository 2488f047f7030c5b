"""The memory of the process."""

import subprocess
import sys

import pytest
import torch

from sigprop_snn.training import peak_memory_mb


def test_the_peak_is_at_least_what_is_held():
    held = torch.ones(2**24)  # 64 MiB, every page of it touched
    assert peak_memory_mb(torch.device("cpu")) > held.nbytes / 2**20


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the choice is glibc's, on Linux")
def test_freed_memory_is_kept_where_the_c_library_can():
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
print(kept, faults < 2**14 // 4)
"""
    # In a process of its own: the choice can't be taken back.
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() in (["True", "True"], ["False", "False"])
