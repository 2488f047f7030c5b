"""The costs of blocks and the simulation of many devices, at toy sizes."""

from __future__ import annotations

import csv
import json
import runpy
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.block_costs import BackwardCost, LayerCost, NetworkCost
from benchmarks.schedules import Link
from benchmarks.simulate_parallel import (
    OURS,
    SAMPLES,
    Speed,
    backward,
    deep,
    fastest,
    gpu,
    learning_seconds,
    messages,
    ours,
    rows_for,
    stages_of,
)

FOLDER = Path(__file__).parents[2] / "benchmarks"
INSTANT = Link("instant", 1e30, 0.0)
SLOW = Link("slow", 1e3, 0.0)
THREAD = Speed("a thread")


def layer(name, *receives, row=1e-3):
    backpropagation = BackwardCost((0.0, 0.0, 0.0), (row, row, row), 320.0, 800.0)
    return LayerCost(
        name, receives, 0.0, row, 10.0, 40.0, 0.0, 1000.0, 100.0, backpropagation
    )  # fmt: skip


@pytest.fixture
def cost():
    """Three equal blocks and a readout without cost, which reads the first and the last."""
    layers = (
        layer("block1"),
        layer("block2", "block1"),
        layer("block3", "block2"),
        layer("readout", "block1", "block3", row=0.0),
    )
    return NetworkCost("toy", 1.0, 4, 2, layers, {})


def test_costs_are_measured_written_and_read(monkeypatch, tmp_path, capsys):
    path = tmp_path / "costs.json"
    given = ["--network", "vgg8", "--width", "0.03", "--steps", "2", "--repeats", "1"]
    given += ["--samples", "2,4", "--backward-samples", "1,2", "--json", str(path)]
    monkeypatch.setattr(sys, "argv", ["block_costs.py", *given])
    runpy.run_path(str(FOLDER / "block_costs.py"), run_name="__main__")
    found = NetworkCost.read(path)
    assert [each.name for each in found.layers] == [*(f"block{n}" for n in range(1, 8)), "readout"]
    first, second = found.layers[:2]
    assert (first.receives, second.receives) == ((), ("block1",))
    assert found.layers[-1].receives == tuple(f"block{n}" for n in range(7, 0, -1))
    maps = [4, 8]  # 0.03 of 128 and 256
    assert first.row_bytes == 2 * maps[0] * 32 * 32 / 8
    assert first.read_bytes == 2 * maps[0] * 8 * 8 / 8
    assert second.row_bytes == 2 * maps[1] * 16 * 16 / 8
    assert second.backward.row_gradient_bytes == 4 * 2 * maps[0] * 32 * 32
    assert second.statistics_bytes == 4 * (2 * maps[1] + maps[0] * 32 * 32)
    assert second.backward.row_kept_bytes > 4 * 2 * maps[1] * 32 * 32
    assert second.row_activity_bytes > 0
    assert "block7" in capsys.readouterr().out
    found.write(path)
    assert NetworkCost.read(path) == found


def test_messages_hold_what_later_blocks_and_the_readout_receive(cost):
    """A row has 10 bytes of spikes, 40 in small maps; there are 6 samples and 2 contexts."""
    assert messages(cost, [[0], [1], [2]], 6) == [8 * 10, 8 * (10 + 40), 0]
    assert messages(cost, [[0, 1], [2]], 6) == [8 * (10 + 40), 0]


def test_spikes_that_a_later_block_receives_do_not_travel_twice(cost):
    layers = (*cost.layers[:2], layer("block3", "block2", "block1"), cost.layers[3])
    assert messages(replace(cost, layers=layers), [[0], [1], [2]], 6) == [8 * 10, 8 * 20, 0]


def test_equal_stages_are_as_fast_as_there_are_devices(cost):
    row = ours(cost, 3, 1, SAMPLES, INSTANT, THREAD)
    assert row.speed_up == pytest.approx(3)
    assert row.bubble == pytest.approx(0, abs=1e-12)
    assert row.samples_per_second == pytest.approx(SAMPLES / (1e-3 * (SAMPLES + 2)))
    assert row.epoch_bubble == pytest.approx(2 / 392)  # two of 392 periods fill and drain


def test_a_slow_link_bounds_the_throughput(cost):
    row = ours(cost, 3, 1, SAMPLES, SLOW, THREAD)
    assert row.samples_per_second == pytest.approx(SAMPLES / (50 * (SAMPLES + 2) / 1e3))


def test_replicas_wait_for_the_ring(cost):
    """One stage, two replicas: each block's ring has 1,000 bytes of the link, four in all."""
    row = ours(cost, 1, 2, SAMPLES, SLOW, THREAD)
    assert row.samples_per_second == pytest.approx(2 * SAMPLES / 4.0)
    assert row.devices == 2


def test_backpropagation_takes_the_best_number_of_microbatches(cost):
    """Two stages: blocks 1 and 2, then block 3; F + B + W of the first is 6 ms for a sample."""
    row = backward(cost, "1F1B", 2, 1, SAMPLES, INSTANT, THREAD)
    assert row.microbatches == SAMPLES  # without fixed costs
    assert row.samples_per_second == pytest.approx(SAMPLES / ((SAMPLES + 1) * 6e-3))
    assert row.memory_mib * (1 << 20) == 2 * 4 * 1000 + 2 * 2 * 800


def test_gradients_that_are_slower_than_the_blocks_bound_backpropagation(cost):
    row = backward(cost, "ZB-H2", 2, 1, SAMPLES, SLOW, THREAD)
    assert row.samples_per_second == pytest.approx(1e3 / 320)


def test_a_deep_network_repeats_one_block(cost):
    found = deep(cost, 5, "block2")
    assert [each.receives for each in found.layers] == [(), *((f"block{n}",) for n in range(1, 5))]
    assert stages_of(learning_seconds(found, 8, THREAD), 2) == [[0, 1, 2], [3, 4]]


def test_a_gpu_takes_the_measured_time_for_the_whole_network(cost):
    speed = gpu(cost)
    assert sum(learning_seconds(cost, SAMPLES, speed)) == pytest.approx(9.0e-3)


def test_the_fastest_mesh_is_chosen(cost):
    rows = rows_for(cost, [2], THREAD, [SLOW], replicated=True)
    best = [row for row in fastest(rows) if row.method == OURS]
    assert len(best) == 1
    rates = [row.samples_per_second for row in rows if row.method == OURS]
    assert best[0].samples_per_second == max(rates)
    assert len(rates) == 2  # 1 x 2 and 2 x 1


def test_the_program_writes_its_files(monkeypatch, tmp_path, cost, capsys):
    costs = tmp_path / "costs.json"
    cost.write(costs)
    given = ["--costs", str(costs), "--most-devices", "8", "--depth", "8"]
    for name in ("json", "table", "figure"):
        given += [f"--{name}", str(tmp_path / f"out.{name if name != 'figure' else 'png'}")]
    monkeypatch.setattr(sys, "argv", ["simulate_parallel.py", *given])
    runpy.run_path(str(FOLDER / "simulate_parallel.py"), run_name="__main__")
    rows = json.loads((tmp_path / "out.json").read_text())["rows"]
    with (tmp_path / "out.table").open() as file:
        table = list(csv.DictReader(file))
    assert len(table) > len(rows)
    assert {row["network"] for row in rows} == {"toy", "deep"}
    assert {row["method"] for row in rows} == {OURS, "GPipe", "1F1B", "ZB-H1", "ZB-H2"}
    assert (tmp_path / "out.png").stat().st_size > 0
    assert "deep on H100" in capsys.readouterr().out
