"""Data in parallel: shards of a batch teach the same as the whole batch."""

from __future__ import annotations

import pytest

JOBS = (
    "replica_jobs.data:2", "replica_jobs.data:3", "replica_jobs.mesh:4",
    "replica_jobs.single_precision:2", "replica_jobs.statistics:2", "replica_jobs.refusals:2",
)  # fmt: skip


@pytest.fixture(scope="module")
def results(run_ranks):
    return run_ranks(*JOBS)


@pytest.mark.parametrize(("job", "cases"), [("data:2", 12), ("data:3", 12), ("mesh:4", 8)])
def test_weights_and_statistics_of_normalisers_equal_those_of_one_process(results, job, cases):
    found = results[f"replica_jobs.{job}"]
    assert len(found) >= cases
    assert {name: worst for name, worst in found.items() if worst > 1e-9} == {}


def test_float32_weights_equal_within_rounding(results):
    # A rounding is 6e-8; sums over positions and batches make some tens of them.
    assert results["replica_jobs.single_precision:2"] < 5e-6


def test_the_report_is_that_of_the_whole_batch(results):
    found = results["replica_jobs.statistics:2"]
    *counts, losses = found["alone"]
    *shared_counts, shared_losses = found["replicas"]
    assert shared_counts == counts
    assert shared_losses == pytest.approx(losses, rel=1e-12)


@pytest.mark.parametrize(
    ("what", "parts"),
    {
        "ranks": ("3", "2 ranks"),
        "rows": ("1 row", "2 replicas"),
        "normaliser": ("block1", "BatchNorm1d", "running_mean"),
    }.items(),
)
def test_it_refuses(results, what, parts):
    message = results["replica_jobs.refusals:2"][what]
    assert all(part in message for part in parts), message
