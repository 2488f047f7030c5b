"""What a learning step allocates at its peak: flat in depth, and online flat in time."""

from __future__ import annotations

import gc
import itertools

import torch
from torch.profiler import ProfilerActivity, profile

from sigprop_snn.network import Online, SurrogateRule, VoltageRule, learn_in_parts, mlp
from sigprop_snn.training import LocalOptimizers

ROWS, WIDTH = 64, 100


def peak(rule, *, depth: int, steps: int, every: int | None = None, sources: int = 1) -> int:
    """Return the bytes allocated at the peak of one step, beyond what was there before it."""
    torch.manual_seed(0)
    x, labels = torch.rand(steps, ROWS, 50).round(), torch.randint(10, (ROWS,))
    network = mlp((50,), 10, hidden=[WIDTH] * depth, rule=rule, sources=sources)
    optimizers = LocalOptimizers(network, lambda group: torch.optim.Adam(group, 1e-3, fused=True))

    def step():
        if every is None:
            network.learn(x, labels, optimizers.step)
        else:
            learn_in_parts(network, x, labels, optimizers.step, every)

    step()  # the optimizers' own state is there from now on
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        step()
    events = [e for e in profiled.profiler.kineto_results.events() if e.name() == "[memory]"]
    held = itertools.accumulate(e.nbytes() for e in sorted(events, key=lambda e: e.start_ns()))
    return max(held)


def test_sixteen_blocks_take_what_two_take():
    for rule in (VoltageRule(), SurrogateRule()):
        two, sixteen = (peak(rule, depth=depth, steps=10) for depth in (2, 16))
        assert 0 < sixteen <= 1.1 * two


def test_blocks_that_receive_three_take_the_same_at_any_depth():
    for rule in (VoltageRule(), SurrogateRule()):
        five, sixteen = (peak(rule, depth=depth, steps=10, sources=3) for depth in (5, 16))
        assert 0 < sixteen <= 1.1 * five


def test_online_forty_steps_take_what_ten_take():
    for rule in (VoltageRule(), SurrogateRule()):
        ten, forty = (peak(rule, depth=2, steps=steps, every=1) for steps in (10, 40))
        assert 0 < forty <= 1.05 * ten
        assert peak(rule, depth=2, steps=100) > 1.5 * forty  # so the measure sees what grows


def test_a_stream_keeps_no_memory_of_its_steps():
    torch.manual_seed(0)
    network = mlp((50,), 10, hidden=[WIDTH] * 2, rule=VoltageRule())
    optimizers = LocalOptimizers(network, lambda group: torch.optim.Adam(group, 1e-3, fused=True))
    online, labels = Online(network), torch.randint(10, (8,))

    def go_on(steps):
        for _ in range(steps):
            online.learn(torch.rand(1, 8, 50).round(), labels, optimizers.step)
        gc.collect()

    go_on(20)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        go_on(20)
    events = [e for e in profiled.profiler.kineto_results.events() if e.name() == "[memory]"]
    assert len(events) > 20 * 20
    assert sum(e.nbytes() for e in events) <= 4 * WIDTH  # not even a row of a layer
    before = len(gc.get_objects())
    go_on(200)
    assert len(gc.get_objects()) - before < 200  # no step leaves an object
