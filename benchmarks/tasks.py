"""The tasks that the benchmarks time: the same network, step and inference in every library.

Each `LIBRARIES` entry makes a `Task` for a `PeerCase`. The peers train as their own documentation
does: cross-entropy on the mean output over time, backpropagation through time, Adam.
"""

from __future__ import annotations

import contextlib
import itertools
import runpy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:
    from sigprop_snn.network import Network

BETA = 0.9
CLASSES = 10
WIDTH = 800
CHANNELS = (12, 32)
PICTURES = ("cifar10", (3, 32, 32), (32, 64, 128))  # examples/cifar10.py's own network
VGG8 = "vgg8"  # on pictures of the same size
VGG8_LAYERS = (128, 256, None, 256, 512, None, 512, None, 512, None)  # maps; none is a pool
VGG8_DENSE = 1024
STEPS_OF_INFERENCE = "inference-steps"  # every time step of a sample on its own
WARM_UP = (60, 10)  # short and full steps before ours is timed, for a trained network's rates


class PeerCase(NamedTuple):
    """One row of the benchmark."""

    library: str
    rule: str
    network: str
    steps: int
    depth: int
    batch_size: int
    precision: str


class Task(NamedTuple):
    """A step of one library, to be called repeatedly."""

    step: Callable[[], None]
    resident: list[Tensor]


def inputs_for(case: PeerCase, device: str) -> tuple[Tensor, Tensor]:
    """Return rate-coded spikes `[T, B, ...]`, about as dense as MNIST's, and labels `[B]`.

    Each class has its own rates, 13 % on average, so that a network can learn it and fires as a
    trained one does: our cost depends on the rates, the peers' does not.
    """
    generator = torch.Generator().manual_seed(0)
    if case.network in (PICTURES[0], VGG8):
        # Pictures enter as a current that is constant in time, as the example's do.
        means = torch.rand(CLASSES, *PICTURES[1], generator=generator)
        labels = torch.randint(CLASSES, (case.batch_size,), generator=generator)
        pictures = means[labels] + 0.1 * torch.randn(len(labels), *PICTURES[1], generator=generator)
        return pictures.expand(case.steps, *pictures.shape).to(device), labels.to(device)
    shape = (784,) if case.network == "mlp" else (1, 28, 28)
    rates = 0.52 * torch.rand(CLASSES, *shape, generator=generator).pow(3)
    labels = torch.randint(CLASSES, (case.batch_size,), generator=generator)
    drawn = torch.rand(case.steps, case.batch_size, *shape, generator=generator)
    return (drawn < rates[labels]).float().to(device), labels.to(device)


def layers_of(case: PeerCase) -> list[nn.Module]:
    """Return the synapses of a peer's network, the output layer last."""
    if case.network == "mlp":
        sizes = [784, *[WIDTH] * case.depth, CLASSES]
        return [nn.Linear(a, b) for a, b in itertools.pairwise(sizes)]
    if case.network == PICTURES[0]:
        return _picture_layers()
    if case.network == VGG8:
        return _vgg8_layers()
    channels = [1, *CHANNELS[: case.depth], *CHANNELS[-1:] * (case.depth - 2)]
    layers: list[nn.Module] = []
    side = 28
    for index, (a, b) in enumerate(itertools.pairwise(channels)):
        # The pool of the block below comes before this synapse: it pools the spikes.
        pooled = index > 0 and side >= 8
        side = side // 2 if pooled else side
        conv = nn.Conv2d(a, b, 5, padding=2)
        layers.append(nn.Sequential(nn.AvgPool2d(2), conv) if pooled else conv)
    side = side // 2
    head = nn.Linear(channels[-1] * side * side, CLASSES)
    return [*layers, nn.Sequential(nn.AvgPool2d(2), nn.Flatten(), head)]


def _picture_layers() -> list[nn.Module]:
    layers: list[nn.Module] = []
    maps, side = PICTURES[1][0], PICTURES[1][1]
    for index, more in enumerate(PICTURES[2]):
        conv = nn.Conv2d(maps, more, 3, padding=1)
        layers.append(nn.Sequential(nn.MaxPool2d(2), conv) if index else conv)
        maps = more
    head = nn.Linear(maps * (side // 8) ** 2, CLASSES)
    return [*layers, nn.Sequential(nn.MaxPool2d(2), nn.Flatten(), head)]


def _vgg8_layers() -> list[nn.Module]:
    layers: list[nn.Module] = []
    maps, side, before = PICTURES[1][0], PICTURES[1][1], []
    for more in VGG8_LAYERS:
        if more is None:
            before, side = [nn.MaxPool2d(2)], side // 2
            continue
        conv = nn.Conv2d(maps, more, 3, padding=1)
        layers.append(nn.Sequential(*before, conv) if before else conv)
        maps, before = more, []
    dense = nn.Linear(maps * side**2, VGG8_DENSE)
    layers.append(nn.Sequential(*before, nn.Flatten(), dense))
    return [*layers, nn.Linear(VGG8_DENSE, CLASSES)]


def _precision(case: PeerCase, device: str) -> contextlib.AbstractContextManager[Any]:
    if case.precision == "bf16":
        return torch.autocast(device, torch.bfloat16)
    return contextlib.nullcontext()


def network_for(case: PeerCase) -> Network:
    """Return our network of a case, on the CPU."""
    from sigprop_snn.network import conv, mlp, vgg8
    from sigprop_snn.rules import RULES

    rule = RULES[case.rule].make if case.rule in RULES else None
    torch.manual_seed(0)
    if case.network == "mlp":
        return mlp((784,), CLASSES, hidden=[WIDTH] * case.depth, rule=rule)
    if case.network == VGG8:
        return vgg8(PICTURES[1], CLASSES, rule=rule)
    if case.network == PICTURES[0]:
        example = runpy.run_path(str(Path(__file__).parent.parent / "examples" / "cifar10.py"))
        built: Network = example["build"](
            PICTURES[1], CLASSES, rule=None if rule is None else rule(None)
        )
        return built
    channels = [*CHANNELS[: case.depth], *CHANNELS[-1:] * (case.depth - 2)]
    return conv((1, 28, 28), CLASSES, channels=channels, kernel=5, rule=rule)


def _ours(case: PeerCase, device: str) -> Task:
    from sigprop_snn.network import learn_in_parts
    from sigprop_snn.optimizers.local_optimizers import LocalOptimizers

    spikes, labels = inputs_for(case, device)
    every = 1 if case.rule == "online-voltage" else None
    net = network_for(case)
    net = net.to(device)
    optimizers = LocalOptimizers(net, lambda group: torch.optim.Adam(group, 1e-3, fused=True))

    def learn() -> None:
        with _precision(case, device):
            if every is None:
                net.learn(spikes, labels, optimizers.step)
            else:
                learn_in_parts(net, spikes, labels, optimizers.step, every)

    def infer() -> None:
        with _precision(case, device):
            net(spikes)

    def infer_by_steps() -> None:
        with _precision(case, device):
            for step in spikes.split(1):
                net(step)

    for steps, count in zip((10, case.steps), WARM_UP, strict=True):
        for _ in range(count):
            net.learn(spikes[:steps], labels, optimizers.step)
    # From here on every step costs the same, and that of the inference beside it: the network
    # stays as it is, while the optimizer does all that it does.
    for optimizer in optimizers.by_layer.values():
        for group in optimizer.param_groups:
            group["lr"] = 0.0
    if case.rule == "inference":
        net.eval()
        return Task(infer, [spikes])
    if case.rule == STEPS_OF_INFERENCE:
        net.eval()
        return Task(infer_by_steps, [spikes])
    return Task(learn, [spikes])


def _trained(
    case: PeerCase,
    device: str,
    net: nn.Module,
    output: Callable[[Tensor], Tensor],
    *,
    batch_first: bool = False,
) -> Task:
    """Return a BPTT step, or inference, of a peer's network."""
    spikes, labels = inputs_for(case, device)
    if batch_first:
        spikes = spikes.transpose(0, 1).contiguous()
    net.to(device)
    optimizer = torch.optim.Adam(net.parameters(), 1e-3, fused=True)

    def infer() -> None:
        with torch.no_grad(), _precision(case, device):
            output(spikes)

    def learn() -> None:
        optimizer.zero_grad()
        with _precision(case, device):
            loss = F.cross_entropy(output(spikes).float(), labels)
        loss.backward()
        optimizer.step()

    return Task(infer if case.rule == "inference" else learn, [spikes])


def _snntorch(case: PeerCase, device: str) -> Task:
    import snntorch
    from snntorch import surrogate

    layers = nn.ModuleList(layers_of(case))
    neurons = nn.ModuleList(
        snntorch.Leaky(beta=BETA, spike_grad=surrogate.fast_sigmoid()) for _ in layers
    )

    def output(spikes: Tensor) -> Tensor:
        voltages = [neuron.reset_mem() for neuron in neurons]
        total = torch.zeros((), device=device)
        for x in spikes:
            for index, (layer, neuron) in enumerate(zip(layers, neurons, strict=True)):
                x, voltages[index] = neuron(layer(x), voltages[index])
            total = total + voltages[-1]
        return total / spikes.shape[0]

    return _trained(case, device, nn.ModuleList([layers, neurons]), output)


def _spikingjelly(case: PeerCase, device: str) -> Task:
    from spikingjelly.activation_based import functional, neuron

    layers: list[nn.Module] = []
    for synapse in layers_of(case):
        lif = neuron.LIFNode(
            1 / (1 - BETA), decay_input=False, v_reset=None, detach_reset=True, step_mode="m"
        )
        if device == "cuda":
            lif.backend = "triton"
        layers += [_EveryStep(synapse), lif]
    # The output layer is read as currents: the library's neurons keep no voltage in time.
    net = nn.Sequential(*layers[:-1])

    def output(spikes: Tensor) -> Tensor:
        functional.reset_net(net)
        mean: Tensor = net(spikes).mean(0)
        return mean

    return _trained(case, device, net, output)


def _norse(case: PeerCase, device: str) -> Task:
    import norse.torch as norse
    from norse.torch.functional.reset import reset_subtract

    parameters = norse.LIFBoxParameters(
        tau_mem_inv=torch.tensor(100.0, device=device),
        v_leak=torch.tensor(0.0, device=device),
        v_th=torch.tensor(1.0, device=device),
        v_reset=torch.tensor(0.0, device=device),
        reset_method=reset_subtract,
    )
    layers: list[nn.Module] = []
    for synapse in layers_of(case):
        layers += [synapse, norse.LIFBoxCell(parameters)]
    net = norse.SequentialState(*layers[:-1])

    def output(spikes: Tensor) -> Tensor:
        state = None
        total = torch.zeros((), device=device)
        for x in spikes:
            current, state = net(x, state)
            total = total + current
        return total / spikes.shape[0]

    return _trained(case, device, net, output)


def _sinabs(case: PeerCase, device: str) -> Task:
    import sinabs.layers as sinabs
    from sinabs.activation import SingleSpike

    tau = -1.0 / torch.log(torch.tensor(BETA)).item()
    layers: list[nn.Module] = []
    for synapse in layers_of(case):
        lif = sinabs.LIF(tau_mem=tau, spike_fn=SingleSpike, norm_input=False)
        layers += [_EveryStep(synapse), lif]
    net = nn.Sequential(*layers[:-1])

    def output(spikes: Tensor) -> Tensor:
        for layer in layers:
            if isinstance(layer, sinabs.LIF):
                layer.reset_states()
        mean: Tensor = net(spikes).mean(1)
        return mean

    return _trained(case, device, net, output, batch_first=True)


class _EveryStep(nn.Module):
    """A synapse over all steps and samples at once."""

    def __init__(self, synapse: nn.Module) -> None:
        super().__init__()
        self.synapse = synapse

    def forward(self, x: Tensor) -> Tensor:
        """Return the synapse's output for `x` with two leading axes."""
        y: Tensor = self.synapse(x.flatten(0, 1))
        return y.unflatten(0, x.shape[:2])


def _matrix_products(case: PeerCase, device: str) -> Task:
    """Return the synapses alone: a bound for every row.

    For "inference" their products as inference makes them; for "voltage" the least that learning
    adds: each layer's weight gradient from one trace a sample, and Adam.
    """
    layers = layers_of(case)[:-1]
    spikes, _ = inputs_for(case, device)
    generator = torch.Generator().manual_seed(1)
    received = [spikes.flatten(0, 1)]
    with torch.no_grad():
        for layer in layers:
            layer.to(device)
            shape = layer(received[-1][:1]).shape[1:]
            drawn = torch.rand(received[-1].shape[0], *shape, generator=generator) < 0.1
            received.append(drawn.float().to(device))
    if case.rule == "voltage":
        return _bare_update(layers, received, case)

    def multiply() -> None:
        with torch.no_grad(), _precision(case, device):
            for layer, x in zip(layers, received, strict=False):
                layer(x)

    return Task(multiply, received[:-1])


def _bare_update(layers: list[nn.Module], received: list[Tensor], case: PeerCase) -> Task:
    traces, deltas = ([x.unflatten(0, (-1, case.batch_size)).mean(0) for x in xs]
                      for xs in (received[:-1], received[1:]))  # fmt: skip
    synapses = []
    for index, layer in enumerate(layers):
        synapse = layer
        if isinstance(layer, nn.Sequential):
            pool, synapse = layer
            traces[index] = pool(traces[index])
        assert isinstance(synapse, nn.Linear | nn.Conv2d)
        synapses.append(synapse)
    parameters = [parameter for synapse in synapses for parameter in synapse.parameters()]
    optimizer = torch.optim.Adam(parameters, 1e-3, fused=True)

    def update() -> None:
        for synapse, x, delta in zip(synapses, traces, deltas, strict=True):
            if isinstance(synapse, nn.Linear):
                product, sums = delta.t() @ x, delta.sum(0)
            else:
                shape, padding = synapse.weight.shape, synapse.padding
                product = nn.grad.conv2d_weight(x, shape, delta, padding=padding)
                sums = delta.sum((0, 2, 3))
            synapse.weight.grad, synapse.bias.grad = product, sums
        optimizer.step()

    return Task(update, [*traces, *deltas])


def make(case: PeerCase, device: str) -> Task:
    """Return the task of a case."""
    return LIBRARIES[case.library](case, device)


LIBRARIES: dict[str, Callable[[PeerCase, str], Task]] = {
    "matrix products": _matrix_products,
    "sigprop_snn": _ours,
    "snntorch": _snntorch,
    "spikingjelly": _spikingjelly,
    "norse": _norse,
    "sinabs": _sinabs,
}

MODULES: dict[str, Sequence[str]] = {
    "snntorch": ("snntorch",),
    "spikingjelly": ("spikingjelly",),
    "norse": ("norse",),
    "sinabs": ("sinabs",),
}
