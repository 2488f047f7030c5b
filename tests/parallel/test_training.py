"""Runs of several processes: one run folder, as from one process, also after kills and signals."""

from __future__ import annotations

import signal

import pytest

JOBS = (
    "alone:1", "together:2", "together:3", "data:4", "killed:3", "resumed:2", "stopped:2",
    "shortened:1", "stopped_alone:1", "continued:3", "failing:3", "refusals:2",
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("training")


@pytest.fixture(scope="module")
def results(run_ranks, folder):
    found = run_ranks(*(f"train_jobs.{job}" for job in JOBS), folder=folder)
    return {job.removeprefix("train_jobs."): result for job, result in found.items()}


@pytest.mark.parametrize("ranks", [2, 3])
def test_a_run_of_several_processes_writes_the_files_of_one_bit_by_bit(results, ranks):
    different, files = results[f"together:{ranks}"]
    assert different == []
    assert files == results["alone:1"]


def test_stages_and_replicas_learn_as_one_process_within_rounding(results):
    difference, alone, together = results["data:4"]
    assert difference < 1e-3
    for one, other in zip(alone, together, strict=True):
        assert other["loss"] == pytest.approx(one["loss"], rel=1e-3)
        assert other["train_accuracy"] == pytest.approx(one["train_accuracy"], abs=0.05)


def test_a_killed_process_ends_the_others_with_its_rank(results):
    message, files = results["killed:3"]
    assert "rank" in message and "ended" in message
    assert "checkpoint.pt" in files and not [name for name in files if name.startswith(".")]


def test_a_killed_run_goes_on_with_other_processes_as_if_nothing_had_happened(results):
    different, files = results["resumed:2"]
    assert different == []
    assert files == results["alone:1"]


def test_a_signal_to_any_process_saves_the_run_and_stops_all(results, folder):
    assert "everything is saved" in results["stopped:2"]
    for rank in range(2):
        assert (folder / f"stopped-by-{rank}").read_text() == str(int(signal.SIGTERM))
    assert results["shortened:1"] == 1


def test_several_processes_go_on_with_the_run_of_one(results):
    assert "after 2 of 3 batches" in results["stopped_alone:1"]
    assert results["continued:3"] == []


def test_an_error_in_one_process_reaches_the_others(results, folder):
    assert "OSError" in (folder / "failing-2").read_text()
    for rank in range(2):
        told = (folder / f"failing-{rank}").read_text()
        assert "rank 2 failed" in told and "no memory left" in told


@pytest.mark.parametrize(
    ("what", "parts"),
    {
        "seed": ("rank 1", "seed", "1", "0"),
        "rows": ("1 row", "2 replicas"),
        "update": ("every-2", "sample"),
        "rule": ("Backpropagation", "backward pass"),
    }.items(),
)
def test_it_refuses_before_the_first_batch_and_leaves_no_folder(results, what, parts):
    found = results["refusals:2"]
    assert all(part in found[what] for part in parts), found[what]
    assert what not in found["folders"]
