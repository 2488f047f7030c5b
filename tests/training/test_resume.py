"""A run that was killed and resumed ends in the same bits as an uninterrupted run."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from sigprop_snn.training import load_checkpoint

MOMENTS = [
    "first-batch", "first-epoch", "second-epoch", "first-checkpoint", "second-checkpoint",
    "before-the-move", "before-the-metrics", "before-the-summary",
    "often-first-epoch", "often-second-checkpoint",
    "chance-0.3", "chance-0.6", "chance-0.9",
    "again-and-again",
]  # fmt: skip


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    root = tmp_path_factory.mktemp("killed")
    script = Path(__file__).with_name("kill_helpers.py")
    subprocess.run(
        [sys.executable, str(script), str(root)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        check=True,
    )
    assert {path.name for path in root.iterdir()} == {*MOMENTS, "undisturbed"}
    return root


def without_seconds(records):
    return [{key: value for key, value in r.items() if key != "seconds"} for r in records]


def lines(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def assert_same(found, expected, place="checkpoint"):
    """Two trees of plain values and tensors are equal to the last bit."""
    assert type(found) is type(expected), place
    if isinstance(found, torch.Tensor):
        assert torch.equal(found, expected), place
    elif isinstance(found, dict):
        assert list(found) == list(expected), place
        for key in found:
            assert_same(found[key], expected[key], f"{place}.{key}")
    elif isinstance(found, list | tuple):
        assert len(found) == len(expected), place
        for index, (one, other) in enumerate(zip(found, expected, strict=True)):
            assert_same(one, other, f"{place}[{index}]")
    else:
        assert found == expected, place


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_killed_and_resumed_run_ends_in_the_same_bits(runs, moment):
    found, expected = (
        load_checkpoint(runs / name / "checkpoint.pt") for name in (moment, "undisturbed")
    )
    for state in (found, expected):
        state["history"] = without_seconds(state["history"])
        del state["config"]["save_every"]
    assert_same(found, expected)
    assert without_seconds(lines(runs / moment)) == without_seconds(lines(runs / "undisturbed"))
    assert [line["epoch"] for line in lines(runs / moment)] == [1, 2, 3]


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_killed_run_leaves_no_other_files(runs, moment):
    names = {path.name for path in (runs / moment).iterdir()}
    assert names == {"checkpoint.pt", "config.json", "metrics.jsonl", "summary.json"}
    varying = ("seconds_per_epoch", "peak_memory_mb")
    found, expected = (
        json.loads((runs / name / "summary.json").read_text()) for name in (moment, "undisturbed")
    )
    for summary in (found, expected):
        for key in varying:
            del summary[key]
    assert found == expected
