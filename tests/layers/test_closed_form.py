"""Both rules against autograd through the layer unrolled in time, in float64.

The oracle is written from the equations alone: a loop over the steps, the synapse applied to every
step, the reset held constant, the normaliser and the signal by their formulas. Nothing in it comes
from the package except the parameters.
"""

from __future__ import annotations

import copy
import itertools
import math

import pytest
import torch
from torch import nn

from sigprop_snn.network import (
    Block,
    DotProductLoss,
    Network,
    ProjectedContext,
    Readout,
    RunningNorm,
    RunningScale,
    SurrogateRule,
    VoltageRule,
)
from sigprop_snn.neurons import LIF, GaussianNoise, OneToOne, Recurrent, run
from sigprop_snn.neurons.engines import DenseSpikes
from sigprop_snn.surrogates import Arctan, FastSigmoid, Sigmoid

CLASSES = 4
BATCH = 6
TOLERANCE = 1e-9
SYNAPSES = {
    "linear": lambda: nn.Linear(7, 9),
    "unbiased": lambda: nn.Linear(7, 9, bias=False),
    "conv": lambda: nn.Conv2d(2, 3, 3, padding=1),
    "pooled conv": lambda: nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(2, 3, 3, padding=1)),
}
NORMS = {
    "none": lambda channels, current: None,
    "scale": lambda channels, current: RunningScale(channels, 1.3),
    "norm": lambda channels, current: RunningNorm(channels, 0.9, 0.2),
    "layer norm": lambda channels, current: nn.LayerNorm(current),
}
SURROGATE_FORMULAS = {
    "fast sigmoid": (FastSigmoid(3.0), lambda u: 0.5 + 1.5 * u / (1 + 3 * u.abs())),
    "arctan": (Arctan(2.5), lambda u: 0.5 + torch.atan(math.pi * 1.25 * u) / math.pi),
    "sigmoid": (Sigmoid(5.0), lambda u: 1 / (1 + torch.exp(-5 * u))),
}
INPUTS = ("constant", "varying")
PLACES = ("front", "above")  # of the block: contexts enter, or come from below
STATISTICS = ("rectified", "mean", "sigmoid")


def combined(*options, turning):
    """Return every combination of options, each with one of the turning ones.

    Every pair of an option and a turning one occurs. The statistic and the surrogate see the
    voltages alone, whatever made them.
    """
    places = itertools.product(*(range(len(each)) for each in options))
    turning, options = list(turning), [list(each) for each in options]
    return [
        (*(each[at] for each, at in zip(options, place, strict=True)),
         turning[(sum(place) + place[0]) % len(turning)])
        for place in places
    ]  # fmt: skip


def current_shape(synapse: str) -> tuple[int, ...]:
    return {"conv": (3, 6, 6), "pooled conv": (3, 3, 3)}.get(synapse, (9,))


def make_block(synapse: str, norm: str, **neuron) -> Block:
    made = SYNAPSES[synapse]()
    shape = current_shape(synapse)
    return Block(made, LIF(**neuron), norm=NORMS[norm](shape[0], shape)).double()


def make_inputs(synapse: str, steps: int, rows: int, *, constant: bool) -> torch.Tensor:
    sample = (7,) if synapse in ("linear", "unbiased") else (2, 6, 6)
    if constant:
        return (2 * torch.randn(rows, *sample, dtype=torch.float64)).expand(steps, rows, *sample)
    return 2 * torch.randn(steps, rows, *sample, dtype=torch.float64)


def oracle_signal(signal: ProjectedContext) -> torch.Tensor:
    raw = signal.projection
    centred = raw - raw.mean(1, keepdim=True)
    current = centred / (centred.square().mean(1, keepdim=True) + 1e-10).sqrt()
    return signal.gain * current.reshape(signal.classes, *signal.shape)


def oracle_norm(norm: nn.Module, raw: list[torch.Tensor], rows: int) -> list[torch.Tensor]:
    """Normalise the currents of all steps by a fresh layer's statistics of this very batch."""
    samples = torch.stack([step[:rows] for step in raw]).detach()
    wide = (1, -1, *[1] * (raw[0].dim() - 2))
    if isinstance(norm, RunningScale):
        size = (samples.square().mean() + 1e-6).sqrt()
        return [norm.gain.view(wide) * step / size for step in raw]
    if isinstance(norm, RunningNorm):
        axes = [axis for axis in range(samples.dim()) if axis != 2]
        mean = samples.mean(axes)
        deviation = ((samples - mean.view(1, *wide)).square().mean(axes) + 1e-6).sqrt()
        return [
            norm.gain.view(wide) * (step - mean.view(wide)) / deviation.view(wide)
            + norm.shift.view(wide)
            for step in raw
        ]
    return [norm(step) for step in raw]


def oracle_run(neuron: LIF, currents: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Voltages before the reset and spikes, `[T, N, ...]`, with the reset held constant."""
    share = 1 - neuron.beta if neuron.current_gain != 1 else 1.0
    carried = torch.zeros_like(currents[0])
    voltages, spikes = [], []
    for current in currents:
        voltage = neuron.beta * carried + share * current
        spike = (voltage.detach() > neuron.threshold).double()
        if neuron.reset_mode == "subtract":
            lost = neuron.threshold * spike
        elif neuron.reset_mode == "zero":
            lost = (voltage * spike).detach()
        else:
            lost = torch.zeros_like(spike)
        carried = voltage - lost
        voltages.append(voltage)
        spikes.append(spike)
    return torch.stack(voltages), torch.stack(spikes)


def oracle_layer(block, inputs, rows, signal=None):
    currents = oracle_norm(block.norm, [block.synapse(step) for step in inputs], rows)
    if signal is not None:
        currents = [torch.cat([current, oracle_signal(signal)]) for current in currents]
    return oracle_run(block.neuron, currents)


def statistic_of(name: str, voltages: torch.Tensor, threshold: float) -> torch.Tensor:
    mean = voltages.sum(0) / voltages.shape[0]
    if name == "rectified":
        return mean.clamp(min=0)
    if name == "sigmoid":  # the default surrogate: a fast sigmoid of slope 4
        u = mean - threshold
        return 0.5 + 2 * u / (1 + 4 * u.abs())
    return mean


def gradients(modules) -> list[torch.Tensor]:
    found = [p.grad for m in modules for p in m.parameters()]
    assert all(grad is not None for grad in found)
    return [grad.clone() for grad in found]


def agree(mine: list[torch.Tensor], theirs: list[torch.Tensor]) -> None:
    assert len(mine) == len(theirs) > 0
    for one, other in zip(mine, theirs, strict=True):
        assert other.abs().max() > 1e-7, "an oracle gradient of zero proves nothing"
        # A gradient's size is set by the batch and the scale: 1e-9 of it, and 1e-9 at most.
        assert (one - other).abs().max() <= TOLERANCE * min(1.0, float(other.abs().max()) + 1e-3)


def respond(rule, block, inputs, contexts, rows):
    observed_rows = rows if block.training else 0
    spikes = DenseSpikes(inputs)
    return rule.respond(block, spikes, contexts=contexts, observed_rows=observed_rows, learn=True)


def check_block(rule, represent, block, signal, inputs, rows):
    """Compare the gradients of one block (and of its signal) with the unrolled layer's."""
    labels = torch.arange(rows) % CLASSES
    compare = DotProductLoss(scale=7.0, grid=2)
    learners = [block] if signal is None else [block, signal]
    twin, twin_signal = copy.deepcopy((block, signal))
    twins = [twin] if signal is None else [twin, twin_signal]

    context = None if signal is None else signal()
    response = respond(rule, block, inputs, context, rows)
    mine = response.representation
    compare.loss(compare.scores(mine[:rows], mine[rows:]), labels).backward()

    voltages, spikes = oracle_layer(twin, inputs, rows, twin_signal)
    theirs = represent(voltages, twin.neuron.threshold)
    compare.loss(compare.scores(theirs[:rows], theirs[rows:]), labels).backward()

    assert 0 < spikes.mean() < 0.95, "the case must have spikes and silence"
    assert torch.equal(response.run.spike, spikes)
    assert (mine - theirs).abs().max() < TOLERANCE
    agree(gradients(learners), gradients(twins))


def case(synapse, norm, *, steps=6, constant=False, front=True, **neuron):
    block = make_block(synapse, norm, **neuron)
    shape = current_shape(synapse)
    signal = ProjectedContext(CLASSES, shape, gain=1.2).double() if front else None
    rows = BATCH
    inputs = make_inputs(synapse, steps, rows + (0 if front else CLASSES), constant=constant)
    return block, signal, inputs, rows


def represent_voltage(statistic):
    return lambda voltages, threshold: statistic_of(statistic, voltages, threshold)


@pytest.mark.parametrize(
    ("synapse", "norm", "inputs", "place", "statistic"),
    combined(SYNAPSES, NORMS, INPUTS, PLACES, turning=STATISTICS),
)
def test_voltage_rule_is_the_unrolled_gradient(synapse, norm, inputs, place, statistic):
    torch.manual_seed(3)
    made = case(synapse, norm, constant=inputs == "constant", front=place == "front", beta=0.8)
    check_block(VoltageRule(statistic), represent_voltage(statistic), *made)


@pytest.mark.parametrize(
    ("length", "reset", "scaled", "statistic"),
    combined(
        [(0.0, 4), (0.6, 1), (0.9, 11), (0.5, 2)], ["subtract", "zero", "none"], [False, True],
        turning=STATISTICS,
    ),
)  # fmt: skip
def test_voltage_rule_for_every_reset_and_length(length, reset, scaled, statistic):
    torch.manual_seed(4)
    beta, steps = length
    for synapse, front in (("linear", True), ("conv", False)):
        block, signal, inputs, rows = case(
            synapse, "scale", steps=steps, front=front,
            beta=beta, reset=reset, scale_current=scaled, threshold=0.3,
        )  # fmt: skip
        check_block(
            VoltageRule(statistic), represent_voltage(statistic), block, signal, inputs, rows
        )


@pytest.mark.parametrize(
    ("synapse", "norm", "inputs", "place", "surrogate"),
    combined(["linear", "conv", "pooled conv"], NORMS, INPUTS, PLACES, turning=SURROGATE_FORMULAS),
)
def test_surrogate_rule_is_the_unrolled_gradient(synapse, norm, inputs, place, surrogate):
    torch.manual_seed(5)
    chosen, formula = SURROGATE_FORMULAS[surrogate]
    constant, front = inputs == "constant", place == "front"
    made = case(synapse, norm, constant=constant, front=front, beta=0.8, surrogate=chosen)
    check_block(SurrogateRule(), lambda v, threshold: formula(v - threshold).mean(0), *made)


@pytest.mark.parametrize("scaled", [False, True], ids=["plain", "scaled"])
@pytest.mark.parametrize("reset", ["subtract", "zero", "none"])
@pytest.mark.parametrize(("beta", "steps"), [(0.0, 4), (0.6, 1), (0.9, 11)])
def test_surrogate_rule_for_every_reset_and_length(beta, steps, reset, scaled):
    torch.manual_seed(6)
    surrogate, formula = SURROGATE_FORMULAS["arctan"]
    block, signal, inputs, rows = case(
        "linear", "norm", steps=steps, beta=beta, reset=reset, scale_current=scaled,
        threshold=0.3, surrogate=surrogate,
    )  # fmt: skip
    check_block(
        SurrogateRule(), lambda v, threshold: formula(v - threshold).mean(0),
        block, signal, inputs, rows,
    )  # fmt: skip


@pytest.mark.parametrize("rule", [VoltageRule("mean"), SurrogateRule()], ids=["voltage", "other"])
def test_a_long_record_of_figures_is_held_constant_too(rule):
    """In eval mode the normaliser's statistics are what they are, whatever the batch."""
    torch.manual_seed(7)
    block, signal, inputs, rows = case("conv", "none", front=True)
    block.norm = RunningNorm(3, 1.1, 0.1).double().eval()
    block.norm.mean.copy_(torch.tensor([0.3, -0.2, 0.1]))
    block.norm.variance.copy_(torch.tensor([0.5, 1.5, 0.9]))
    block.eval()
    context = signal().detach()
    labels = torch.arange(rows) % CLASSES
    compare = DotProductLoss()
    mine = respond(rule, block, inputs, context, rows).representation
    compare.loss(compare.scores(mine[:rows], mine[rows:]), labels).backward()
    got = gradients([block])

    block.zero_grad()
    wide = (1, -1, 1, 1)
    currents = []
    for step in inputs:
        raw = block.synapse(step) - block.norm.mean.view(wide)
        unit = raw / (block.norm.variance.view(wide) + 1e-6).sqrt()
        normal = unit * block.norm.gain.view(wide) + block.norm.shift.view(wide)
        currents.append(torch.cat([normal, context]))
    voltages, _ = oracle_run(block.neuron, currents)
    if isinstance(rule, VoltageRule):
        theirs = voltages.mean(0)
    else:
        u = voltages - 1.0
        theirs = (0.5 + 2 * u / (1 + 4 * u.abs())).mean(0)
    compare.loss(compare.scores(theirs[:rows], theirs[rows:]), labels).backward()
    agree(got, gradients([block]))


def three_blocks(rule) -> Network:
    blocks = [
        Block(nn.Conv2d(2, 4, 3, padding=1), LIF(0.8), norm=RunningNorm(4), pool=nn.AvgPool2d(2)),
        Block(
            nn.Conv2d(4, 5, 3, padding=1),
            LIF(0.7, reset="zero"),
            norm=RunningNorm(5, 1.2, 0.1),
        ),
        Block(nn.Sequential(nn.Flatten(), nn.Linear(80, 12)), LIF(0.9), norm=RunningScale(12, 2.0)),
    ]
    signal = ProjectedContext(CLASSES, (4, 8, 8))
    loss = DotProductLoss(scale=9.0, grid=2)
    return Network(signal, blocks, Readout(12, CLASSES, 0.85), rule=rule, loss=loss).double()


@pytest.mark.parametrize("constant", [True, False], ids=["constant", "varying"])
@pytest.mark.parametrize("rule", [VoltageRule(), SurrogateRule()], ids=["voltage", "surrogate"])
def test_learn_leaves_exactly_the_unrolled_gradients_in_every_block(rule, constant):
    torch.manual_seed(8)
    network = three_blocks(rule)
    twin = copy.deepcopy(network)
    x = 1.5 * torch.randn(1 if constant else 7, BATCH, 2, 8, 8, dtype=torch.float64)
    x = x[0].expand(7, *x.shape[1:]) if constant else x
    labels = torch.tensor([0, 1, 2, 3, 2, 1])
    learned = network.learn(x, labels)

    spikes, compare = x, twin.loss
    for index, block in enumerate(twin.blocks):
        voltages, fired = oracle_layer(block, spikes, BATCH, twin.signal if index == 0 else None)
        assert 0.01 < fired[:, :BATCH].mean() < 0.9
        if isinstance(rule, VoltageRule):
            shown = statistic_of("rectified", voltages, 1.0)
        else:
            u = voltages - 1.0
            shown = (0.5 + 2 * u / (1 + 4 * u.abs())).mean(0)
        scores = compare.scores(shown[:BATCH], shown[BATCH:])
        loss = compare.loss(scores, labels)
        loss.backward()
        assert learned.layers[index].loss == pytest.approx(float(loss.detach()), abs=TOLERANCE)
        assert learned.layers[index].correct == int((scores.argmax(1) == labels).sum())
        spikes = fired
        if index == 0:
            spikes = torch.stack([nn.functional.avg_pool2d(step, 2) for step in fired])
    voltage = voltage_sum = torch.zeros(BATCH, CLASSES, dtype=torch.float64)
    for step in spikes[:, :BATCH]:
        voltage = 0.85 * voltage + twin.readout.synapse(step)
        voltage_sum = voltage_sum + voltage
    scores = voltage_sum / len(spikes)
    nn.functional.cross_entropy(scores, labels).backward()

    assert (learned.scores - scores).abs().max() < TOLERANCE
    names = [name for name, _ in network.named_parameters()]
    mine, theirs = gradients([network]), gradients([twin])
    assert len(names) == len(mine) == 14
    agree(mine, theirs)


class SquareLinear(nn.Linear):
    """A linear layer whose current is not affine in the input."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return super().forward(inputs).square() - 0.5


@pytest.mark.parametrize("rule", [VoltageRule("mean"), SurrogateRule()], ids=["voltage", "other"])
@pytest.mark.parametrize(
    "synapse",
    [
        lambda: SquareLinear(7, 9),
        lambda: nn.Sequential(nn.Linear(7, 8), nn.Tanh(), nn.Linear(8, 9)),
    ],
    ids=["subclass", "tanh"],
)
def test_a_synapse_that_is_not_affine_is_exact_too(synapse, rule):
    torch.manual_seed(9)
    block, signal, inputs, rows = case("linear", "scale", beta=0.7)
    block.synapse = synapse().double()
    if isinstance(rule, VoltageRule):
        check_block(rule, represent_voltage("mean"), block, signal, inputs, rows)
    else:

        def represent(voltages, threshold):
            u = voltages - threshold
            return (0.5 + 2 * u / (1 + 4 * u.abs())).mean(0)

        check_block(rule, represent, block, signal, inputs, rows)


@pytest.mark.parametrize("rule", [VoltageRule("mean"), SurrogateRule()], ids=["voltage", "other"])
def test_the_gradient_is_that_of_the_very_pass_that_ran(rule):
    """A dropout mask is drawn once: what did not drive the neuron gets no gradient."""
    torch.manual_seed(10)
    block = Block(nn.Sequential(nn.Dropout(0.5), nn.Linear(64, 1, bias=False)), LIF(0.5)).double()
    with torch.no_grad():
        block.synapse[1].weight.copy_(2.0 ** -torch.arange(1.0, 65.0))
    inputs = torch.ones(1, 1, 64, dtype=torch.float64)
    response = respond(rule, block, inputs, None, 1)
    response.representation.sum().backward()
    driven = float(response.run.mean_voltage)
    bits = [bool(int(driven / 2 * 2.0**k) % 2) for k in range(1, 41)]
    moved = (block.synapse[1].weight.grad[0, :40] != 0).tolist()
    assert moved == bits


@pytest.mark.parametrize("rule", [VoltageRule(), SurrogateRule()], ids=["voltage", "surrogate"])
def test_a_linear_layer_over_the_last_of_several_axes_learns_exactly(rule):
    """Its channels are the last axis, those of the normaliser the first: no closed form."""
    torch.manual_seed(0)
    block = Block(nn.Linear(6, 4), LIF(0.8), norm=RunningNorm(5)).double()
    x = (torch.rand(4, 3, 5, 6) < 0.5).double()
    with torch.no_grad():
        block.norm.gain.uniform_(0.5, 1.5)
    shown = rule.respond(block, DenseSpikes(x), learn=True).representation
    weights = torch.randn_like(shown)
    mine = torch.autograd.grad((shown * weights).sum(), list(block.parameters()))
    current = block.current(x)
    ran = run(block.neuron, current, record=("voltage",), detach_spikes=True, engine="reference")
    theirs = rule.represent(ran.recorded["voltage"], block.neuron)
    if rule.uses_mean_voltage:
        theirs = rule.represent(ran.recorded["voltage"].mean(0, keepdim=True), block.neuron)
    expected = torch.autograd.grad((theirs * weights).sum(), list(block.parameters()))
    for one, other in zip(mine, expected, strict=True):
        torch.testing.assert_close(one, other)


def test_a_wrapped_neuron_learns_the_shape_of_its_surrogate():
    for wrap in (lambda n: GaussianNoise(n, 0.0), lambda n: Recurrent(n, OneToOne((4,)))):
        slope = nn.Parameter(torch.tensor(4.0))
        block = Block(nn.Linear(6, 4), wrap(LIF(0.8, surrogate=FastSigmoid(slope))))
        x = (torch.rand(5, 3, 6) < 0.5).float()
        shown = SurrogateRule().respond(block, DenseSpikes(x), learn=True).representation
        shown.sum().backward()
        assert slope.grad is not None and slope.grad != 0
