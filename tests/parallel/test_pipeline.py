"""Layers in parallel: several processes end in the weights of one, and refuse what can't be cut."""

from __future__ import annotations

import pytest

JOBS = (
    "pipeline_jobs.some_equal:1", "pipeline_jobs.some_equal:2", "pipeline_jobs.equal:3",
    "pipeline_jobs.refusals:2", "pipeline_jobs.labels:2", "pipeline_jobs.noise:2",
    "pipeline_jobs.numbers:3", "pipeline_jobs.crossing:2", "pipeline_jobs.hanging:2",
    "pipeline_jobs.ahead:2", "pipeline_jobs.early:2", "pipeline_jobs.kernels:2",
    "pipeline_jobs.counts:2", "pipeline_jobs.unfinished:2",
)  # fmt: skip


@pytest.fixture(scope="module")
def results(run_ranks, folder):
    return run_ranks(*JOBS, folder=folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("pipeline")


@pytest.mark.parametrize(
    ("job", "cases"), [("some_equal:1", 4), ("some_equal:2", 4), ("equal:3", 18)]
)
def test_weights_results_and_reports_equal_those_of_one_process_bit_by_bit(results, job, cases):
    found = results[f"pipeline_jobs.{job}"]
    assert {name: different for name, different in found.items() if different} == {}
    assert len(found) >= cases


def test_packed_spikes_cross_and_give_the_same_bits(results):
    found = results["pipeline_jobs.kernels:2"]
    assert {name: different for name, different in found.items() if different} == {}
    assert len(found) == 5


@pytest.mark.parametrize(
    ("what", "parts"),
    {
        "ranks": ("2 stages", "1 block"),
        "stages": ("[1, 1]", "3 blocks", "2 ranks"),
        "rule": ("Backpropagation", "backward pass"),
        "output": ("ErrorForward", "no pass"),
        "weights": ("rank 1", "the weights"),
        "settings": ("rank 1", "slots", "3", "2"),
        "loss": ("rank 1", "the network"),
    }.items(),
)
def test_it_refuses_before_the_first_batch(results, what, parts):
    message = results["pipeline_jobs.refusals:2"][what]
    assert all(part in message for part in parts), message


def test_other_labels_are_refused_and_the_first_rank_is_told(results, folder):
    refused = (folder / "labels-1").read_text()
    told = (folder / "labels-0").read_text()
    assert "SigpropError" in refused and "rank 1" in refused and "labels" in refused
    assert "RankLostError: rank 1 failed" in told and "labels" in told


def test_ranks_that_learned_from_different_numbers_of_batches_are_refused(results):
    assert "2, 1 batches" in results["pipeline_jobs.counts:2"]


def test_batches_that_a_later_rank_leaves_are_an_error_when_it_closes(results, folder):
    first, last = ((folder / f"unfinished-{rank}").read_text().splitlines() for rank in range(2))
    assert "2 batches" in last[0] and "from 3" in last[0]
    assert len(last) == 2 and len(first) == 1  # closing again is no error, learning then is
    assert "closed" in first[0] and "closed" in last[1]


def test_noise_is_refused_by_the_name_of_the_block(results):
    assert "block1" in results["pipeline_jobs.noise:2"]


def test_a_number_of_the_first_rank_arrives_between_the_same_two_batches(results, folder):
    for rank in range(3):
        assert (folder / f"numbers-{rank}").read_text() == "[0, 0, 7, 0, 0]"


def test_spikes_cross_as_bits(results):
    first, last = results["pipeline_jobs.crossing:2"]
    bits = 8 * (50 + 2) * 2000 / 8
    assert bits <= first <= bits + 3 * 4096
    assert last == 0


def test_a_rank_that_hangs_is_lost_in_bounded_time(results):
    message = results["pipeline_jobs.hanging:2"]
    assert "rank 1 (block2, readout)" in message and "3 s" in message


def test_a_stage_sends_a_batch_before_its_last_block_learns_from_it(results):
    assert results["pipeline_jobs.early:2"] == [True]


def test_a_stage_works_ahead_of_the_next_one(results):
    idle, seconds = results["pipeline_jobs.ahead:2"]
    assert seconds < 15  # the last stage waits for 20 s if the first one waits for it
    assert all(0 <= share <= 1 for share in idle)
