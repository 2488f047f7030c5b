"""Schedules of training on several devices, against schedules worked out by hand."""

from __future__ import annotations

import pytest

from benchmarks.schedules import (
    FORMULAS,
    Backward,
    Link,
    Ring,
    Work,
    simulate,
)

INSTANT = Link("instant", 1e30, 0.0)
ONE_BYTE = Link("a byte a second", 1.0, 0.0)


def row(*seconds, sent=0.0, reduce=(0.0, 0.0)):
    """Blocks in a row, each of which receives the one below."""
    return [
        Work(cost, sent, (index - 1,) if index else (), Ring(*reduce))
        for index, cost in enumerate(seconds)
    ]


def starts(found, block):
    return [span.start for span in found.spans if span.block == block]


def test_two_equal_stages_and_three_batches_take_four_steps():
    found = simulate(row(1, 1), [[0], [1]], 3, INSTANT, record=True)
    assert found.seconds == 4
    assert found.finished == (2, 3, 4)
    assert (starts(found, 0), starts(found, 1)) == ([0, 1, 2], [1, 2, 3])
    assert found.idle == (0.25, 0.25)
    assert found.bubble == 0.25


def test_the_longest_stage_sets_the_period():
    found = simulate(row(1, 2), [[0], [1]], 3, INSTANT, record=True)
    assert found.seconds == 7
    assert starts(found, 1) == [1, 3, 5]
    assert found.period == 2
    assert found.idle == pytest.approx((4 / 7, 1 / 7))


def test_one_buffer_stops_a_fast_stage():
    """Batch 1 waits in the receiver's buffer from 2 to 4, and batch 2 in the sender's from 3."""
    found = simulate(row(1, 3), [[0], [1]], 5, INSTANT, buffers=1, record=True)
    assert starts(found, 0) == [0, 1, 2, 3, 4]
    assert starts(found, 1) == [1, 4, 7, 10, 13]
    # Batch 3 ends at 4, when batch 2 leaves. Batch 4 ends at 5 and waits until 7; nothing follows.
    more = simulate(row(1, 3), [[0], [1]], 7, INSTANT, buffers=1, record=True)
    assert starts(more, 0) == [0, 1, 2, 3, 4, 7, 10]


def test_a_second_buffer_moves_the_stop():
    found = simulate(row(1, 3), [[0], [1]], 8, INSTANT, buffers=2, record=True)
    # Two batches wait at the receiver and two at the sender; batch 6 ends at 7, when one leaves.
    assert starts(found, 0) == [0, 1, 2, 3, 4, 5, 6, 7]
    assert starts(found, 1) == [1 + 3 * batch for batch in range(8)]


def test_a_link_slower_than_the_blocks_sets_the_period():
    """Each message takes 2 seconds: from 1 to 3, 3 to 5 and 5 to 7."""
    found = simulate(row(1, 1, sent=2.0), [[0], [1]], 3, ONE_BYTE, record=True)
    assert starts(found, 1) == [3, 5, 7]
    assert found.seconds == 8
    assert found.idle == pytest.approx((5 / 8, 5 / 8))


def test_latency_delays_but_does_not_slow():
    found = simulate(row(1, 1), [[0], [1]], 3, Link("far", 1e30, 10.0), buffers=3, record=True)
    assert starts(found, 1) == [11, 12, 13]


def test_a_block_waits_for_all_the_blocks_that_it_receives():
    """Block 2 receives 0 and 1.

    Block 0 sends to stage 1 from 1 to 2 and 3 to 4, and to stage 2 from 2 to 3 and 4 to 5. Block 1
    ends at 4.5, waits for the link of stage 2, and sends from 5 to 6; then from 7 to 8.
    """
    work = [Work(1, 1), Work(2.5, 1, (0,)), Work(1, 0, (1, 0))]
    found = simulate(work, [[0], [1], [2]], 2, ONE_BYTE, record=True)
    assert starts(found, 1) == [2, 4.5]
    assert starts(found, 2) == [6, 8]


def test_blocks_of_one_stage_send_nothing_to_each_other():
    found = simulate(row(1, 2, 3, sent=100.0), [[0, 1, 2]], 2, ONE_BYTE)
    assert (found.seconds, found.busy, found.bubble) == (12, (12,), 0)


def test_a_block_waits_for_its_own_all_reduce():
    """One block: 1 second, then 3 of all-reduce, in one of which the link is free."""
    found = simulate(row(1, reduce=(2.0, 1.0)), [[0]], 2, INSTANT, record=True)
    assert starts(found, 0) == [0, 4]
    assert found.seconds == 8


def test_an_all_reduce_overlaps_the_next_block():
    """Block 0 reduces from 1 to 3, while block 1 computes."""
    found = simulate(row(1, 2, reduce=(2.0, 0.0)), [[0, 1]], 2, INSTANT, record=True)
    assert starts(found, 0) == [0, 3]
    assert starts(found, 1) == [1, 5]  # its own all-reduce takes from 3 to 5


def test_all_reduces_share_the_link_but_not_their_delays():
    """Two blocks of no seconds: the link is in use from 0 to 2 and from 2 to 4; delays of 5."""
    found = simulate(row(0, 0, reduce=(2.0, 5.0)), [[0, 1]], 2, INSTANT, record=True)
    assert starts(found, 0) == [0, 7]
    assert starts(found, 1) == [0, 9]


def test_a_longer_run_is_extrapolated_by_the_period():
    work = row(1.0, 1.5, 1.25, sent=0.5)
    stages = [[0], [1], [2]]
    short, full = (simulate(work, stages, count, ONE_BYTE) for count in (20, 100))
    assert short.longer(100) == pytest.approx(full.seconds)


def test_ring_and_tree_by_hand():
    link = Link("slow", 10.0, 0.5)
    assert link.ring(80.0, 4) == pytest.approx((6 * 2.0, 6 * 0.5))
    assert link.ring(80.0, 1) == (0, 0)
    assert link.tree(10.0, 5) == pytest.approx(6 * 1.5)
    assert link.tree(10.0, 1) == 0


EVEN = Backward(1.0, 1.0, 1.0)


@pytest.mark.parametrize(
    ("name", "seconds", "kept"),
    [
        ("GPipe", 3 * (8 + 3), 8),
        ("1F1B", 3 * (8 + 3), 4),
        ("ZB-H1", 3 * 8 + 3, 4),
        ("ZB-H2", 3 * 8, 7),
    ],
)
def test_formulas_of_the_papers(name, seconds, kept):
    """Four stages, eight microbatches, F = B = W."""
    assert FORMULAS[name](4, 8, EVEN) == (seconds, kept)


@pytest.mark.parametrize("name", FORMULAS)
def test_one_stage_has_no_bubble(name):
    assert FORMULAS[name](1, 6, EVEN).seconds == 18


def test_few_microbatches_leave_a_zero_bubble_schedule_its_way_up_and_back():
    """One microbatch, eight stages: eight times up, eight times back, one weights' gradient."""
    for name in ("ZB-H1", "ZB-H2"):
        assert FORMULAS[name](8, 1, EVEN).seconds == max(17, 3 + 7 * (name == "ZB-H1"))
