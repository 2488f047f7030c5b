"""One script for a GPU: are the kernels right, and how fast is learning?

    python benchmarks/gpu.py --minutes 8 --json gpu.json
    python benchmarks/gpu.py --dry

Five parts, one after the other: (a) every kernel, and both rules' gradients, against float64;
(b) the neuron kernel beside spikingjelly's and torch's; (c) a training step beside snnTorch,
spikingjelly and norse; (d) an epoch of VGG8 on 50,000 pictures; (e) a step over T, batch size and
width. Every row is written to the JSON file as soon as it exists. When the time is over, the rest
is left out. `--dry` runs everything at toy sizes on a CPU, to find mistakes before a GPU is there.

Times are medians between CUDA events, after a warm-up. Memory is the peak of what torch
allocates during a step, beyond what it holds between steps.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.common import OutOfTimeError, device_name, synchronise
from benchmarks.tasks import LIBRARIES, PeerCase, Task, inputs_for, make, network_for
from sigprop_snn.device import step_memory_mb
from sigprop_snn.files import write_text_atomically
from sigprop_snn.network import DotProductLoss, Similarity, conv, mlp, vgg8
from sigprop_snn.network.network import Network
from sigprop_snn.neurons import LIF
from sigprop_snn.neurons.engines import ReferenceEngine, Scale, engine_for, use_engine
from sigprop_snn.optimizers.local_optimizers import LocalOptimizers
from sigprop_snn.training import GraphedStep

MARGIN = 1e-3  # in units of voltage: closer to the threshold, rounding may decide on a spike
BETA = 0.9
PICTURES = 50_000


class Bench:
    """The rows of one run, the device that they come from, and the time that is left.

    Args:
        device: the device.
        dry: whether to run at toy sizes.
        deadline: on the clock of `time.perf_counter`.
        path: the JSON file, or none.
        networks: of part (c); all if there is none.
        libraries: the peers of part (c); all if there is none.
    """

    def __init__(
        self,
        device: torch.device,
        dry: bool,
        deadline: float,
        path: Path | None,
        networks: Sequence[str] = (),
        libraries: Sequence[str] = (),
    ) -> None:
        self.device = device
        self.networks = networks
        self.libraries = libraries
        self.dry = dry
        self.deadline = deadline
        self.path = path
        self.rows: list[dict[str, Any]] = []

    def check_time(self) -> None:
        """Raise OutOfTimeError when the minutes are over."""
        if time.perf_counter() > self.deadline:
            raise OutOfTimeError

    def add(self, part: str, **row: Any) -> None:
        """Keep a row, print it and write all rows."""
        self.rows.append({"part": part, **row})
        shown = ", ".join(f"{name} {_short(value)}" for name, value in row.items())
        print(f"{part}: {shown}", flush=True)
        if self.path is not None:
            found = {"device": device_name(self.device), "torch": torch.__version__,
                     "dry": self.dry, "rows": self.rows}  # fmt: skip
            write_text_atomically(self.path, json.dumps(found, indent=1) + "\n")

    def milliseconds(self, step: Callable[[], object], seconds: float = 0.4) -> list[float]:
        """Return the times of a step in ms: lower quartile, median and upper quartile.

        Short steps are timed several at once, one after the other without a pause, as in training.
        """
        for _ in range(3):
            step()
        once = self._together(step, 1)
        count = 1 if self.dry else max(1, min(50, round(5.0 / once)))
        found: list[float] = []
        stop = time.perf_counter() + (0.0 if self.dry else seconds)
        while len(found) < 2 or time.perf_counter() < stop:
            found.append(self._together(step, count))
        return statistics.quantiles(found, n=4)

    def _together(self, step: Callable[[], object], count: int) -> float:
        """Return the ms of one of `count` steps in a row."""
        if self.device.type != "cuda":
            start = time.perf_counter()
            for _ in range(count):
                step()
            return 1e3 * (time.perf_counter() - start) / count
        first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize()
        first.record()
        for _ in range(count):
            step()
        last.record()
        last.synchronize()
        return first.elapsed_time(last) / count

    def peak_mib(self, step: Callable[[], object]) -> float | None:
        """Return the MiB that a step allocates beyond what is held between steps."""
        if self.device.type != "cuda":
            return None
        synchronise(self.device)
        return step_memory_mb(step, self.device)


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3g}"
    return "[" + " ".join(map(_short, value)) + "]" if isinstance(value, list) else str(value)


# (a) Are the kernels right?


class Error(NamedTuple):
    """How far a result is from that in float64: |found - expected| / |expected|."""

    name: str
    error: float
    most: float


def poison(device: torch.device) -> None:
    """Fill memory that the next allocations get with NaN, so that unwritten numbers show."""
    held = [torch.full((1 << size,), float("nan"), device=device) for size in range(8, 22)]
    del held


def relative(found: Tensor, expected: Tensor) -> float:
    """Return |found - expected| / |expected|; infinite if a number is not finite."""
    found, expected = found.double(), expected.double()
    if not torch.isfinite(found).all():
        return float("inf")
    return float((found - expected).norm() / expected.norm().clamp(min=1e-30))


def kernel_errors(bench: Bench, dtype: torch.dtype, shape: tuple[int, ...], steps: int, *,
                  channels_last: bool, reset: str, seed: int) -> Iterator[Error]:  # fmt: skip
    """Yield the errors of every kernel on fresh random numbers."""
    device, reference, engine = bench.device, ReferenceEngine(), engine_for(bench.device)
    random = torch.Generator().manual_seed(seed)
    draw = lambda *size: torch.randn(size, generator=random).to(device)  # noqa: E731
    rows, contexts = 3, draw(2, *shape)
    current = (1.5 * draw(steps, rows, *shape) + 0.3).to(dtype)
    if channels_last:
        current = current.movedim(2, -1).contiguous().movedim(-1, 2)
    channel = (shape[0], *[1] * (len(shape) - 1))
    scale = Scale(draw(*channel).abs() + 0.5, 0.3 * draw(*channel))
    neuron = LIF(BETA, reset=reset)
    wide = LIF(BETA, reset=reset)
    options: dict[str, Any] = {"record": ("voltage",)}
    expected = reference.neurons(
        wide, current.double(), contexts=contexts.to(dtype).double(),
        scale=Scale(*(x.double() for x in scale if x is not None)), **options,
    )  # fmt: skip
    poison(device)
    ran = engine.neurons(neuron, current, contexts=contexts, scale=scale, **options)
    clear = ((expected.recorded["voltage"] - 1.0).abs() > MARGIN).all(0)
    differ = (ran.spike.double() != expected.spike)[:, clear]
    yield Error("spikes that differ", float(differ.sum()), 0.0)
    yield Error(
        "mean voltage", relative(ran.mean_voltage[clear], expected.mean_voltage[clear]), 1e-5
    )
    yield Error("state", relative(ran.state.voltage[clear], expected.state.voltage[clear]), 1e-5)
    recorded = ran.recorded["voltage"][:, clear]
    yield Error("voltage", relative(recorded, expected.recorded["voltage"][:, clear]), 1e-5)

    spikes, dense = ran.spikes, ran.spike.double()
    weights = torch.rand(steps, generator=random)
    poison(device)
    total = torch.einsum("t,t...->...", weights.double().to(device), dense)
    # The kernel sums in float32; a CPU sums in the spikes' own dtype.
    most = 1e-6 if device.type == "cuda" or dtype == torch.float32 else 1e-2
    yield Error("weighted sum", relative(spikes.weighted_sum(weights), total), most)
    yield Error("count", relative(spikes.count(), dense.sum(0)), 0.0)
    if len(shape) == 3:
        poison(device)
        pooled = F.max_pool2d(dense.flatten(0, 1), 2).unflatten(0, dense.shape[:2])
        yield Error("pool", relative(spikes.pooled(nn.MaxPool2d(2)).dense(), pooled), 0.0)
        maps = ran.mean_voltage
        for grid in (1, min(shape[1:]) - 1):
            poison(device)
            wide_maps = maps.double().requires_grad_()
            mean = F.adaptive_avg_pool2d(wide_maps, grid)
            grad_mean = draw(*mean.shape)
            mean.backward(grad_mean.double())
            yield Error("grid mean", relative(engine.grid_mean(maps, grid), mean.detach()), 1e-6)
            assert wide_maps.grad is not None
            found = engine.grid_mean_gradient(maps, grid, grad_mean)
            yield Error("grid mean's gradient", relative(found, wide_maps.grad), 1e-6)
            yield from rectified_errors(bench, maps, grid, grad_mean)
        yield from similarity_errors(bench, current[0])
    columns = torch.randint(4, (6,), generator=random).to(device)
    compared, others = draw(6, 33), draw(4, 33)
    poison(device)
    compare = (columns, 20.0, 0.1)
    cosine = engine.cosine_cross_entropy(compared, others, *compare)
    wide_cosine = reference.cosine_cross_entropy(compared.double(), others.double(), *compare)
    for name, one, other in zip(cosine._fields, cosine, wide_cosine, strict=True):
        yield Error(f"cosines: {name}", relative(one, other), 1e-5)
    voltage = ran.recorded["voltage"]
    grad = draw(*voltage.shape[1:])
    poison(device)
    yield Error(
        "surrogate's mean",
        relative(
            engine.surrogate_mean(neuron, voltage), reference.surrogate_mean(wide, voltage.double())
        ),
        1e-5,
    )
    yield Error(
        "surrogate's gradient",
        relative(
            engine.surrogate_gradient(neuron, voltage, grad),
            reference.surrogate_gradient(wide, voltage.double(), grad.double()),
        ),
        1e-5,
    )


def rectified_errors(bench: Bench, maps: Tensor, grid: int, grad: Tensor) -> Iterator[Error]:
    """Yield the errors of the kernels for rectified voltages `[N, C, H, W]`."""
    engine = engine_for(bench.device)
    maps = maps - maps.mean()
    wide = maps.double().requires_grad_()
    shown = wide.relu()
    mean = F.adaptive_avg_pool2d(shown, grid)
    more = torch.randn_like(maps[:2])
    ((mean * grad).sum() + (shown[:2] * more.double()).sum()).backward()
    poison(bench.device)
    found = engine.rectified_grid_mean(maps, grid)
    yield Error("rectified grid mean", relative(found, mean.detach()), 1e-6)
    found = engine.rectified(maps, torch.float32)
    yield Error("rectified", relative(found, shown.detach()), 1e-7)
    assert wide.grad is not None
    for dtype, most in ((torch.float32, 1e-6), (torch.bfloat16, 5e-3)):
        poison(bench.device)
        found = engine.rectified_grid_gradient(maps, grid, grad, more, dtype)
        yield Error(f"rectified gradient, {dtype}", relative(found, wide.grad), most)


def similarity_errors(bench: Bench, maps: Tensor) -> Iterator[Error]:
    """Yield the errors of the kernels for the statistics of maps `[N, C, H, W]`."""
    engine = engine_for(bench.device)
    maps = maps + 2.0
    wide = maps.double().requires_grad_()
    deviation = wide.std((2, 3), correction=0)
    grad = torch.randn(deviation.shape, device=bench.device)
    deviation.backward(grad.double())
    poison(bench.device)
    found = engine.map_statistics(maps)
    yield Error("deviation of maps", relative(found.deviation, deviation.detach()), 1e-5)
    gradient = engine.deviation_gradient(maps, found, grad)
    assert wide.grad is not None
    most = 1e-5 if maps.dtype == torch.float32 else 1e-2
    yield Error("deviation's gradient", relative(gradient, wide.grad), most)


def network_errors(bench: Bench, name: str, rule: str, steps: int) -> Iterator[Error]:
    """Yield the error of every block's weight gradient, against the same network in float64.

    Both pass the same inputs; a spike near the threshold may differ, so the bound is wide.
    """
    made: dict[str, Callable[[], Network]] = {
        "mlp": lambda: mlp((37,), 5, hidden=(61, 45), rule=rule),
        "conv": lambda: conv((3, 13, 11), 5, channels=(7, 12), kernel=3, rule=rule),
        "vgg8": lambda: vgg8((3, 32, 32), 5, width=1 / 16, rule=rule),
        "vgg8, all ingredients": lambda: vgg8(
            (3, 32, 32), 5, width=1 / 16, rule=rule, loss=DotProductLoss() + 10.0 * Similarity(),
            sources=3,
        ),
    }  # fmt: skip
    torch.manual_seed(0)
    network = made[name]().to(bench.device)
    if name != "mlp":
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    wide = made[name]().to(bench.device).double()
    wide.load_state_dict({k: v.double() if v.is_floating_point() else v
                          for k, v in network.state_dict().items()})  # fmt: skip
    shape = {"mlp": (37,), "conv": (3, 13, 11)}.get(name, (3, 32, 32))
    random = torch.Generator().manual_seed(1)
    x = torch.rand(steps, 9, *shape, generator=random).to(bench.device)
    labels = torch.randint(5, (9,), generator=random).to(bench.device)
    poison(bench.device)
    network.learn(x, labels)
    with use_engine("reference"):
        wide.learn(x.double(), labels)
    for (layer, block), (_, other) in zip(network.named_blocks(), wide.named_blocks(), strict=True):
        found, expected = (_weight(b).grad for b in (block, other))
        assert found is not None and expected is not None
        yield Error(f"{layer}", relative(found, expected), 0.05)


def _weight(block: nn.Module) -> Tensor:
    return next(p for name, p in block.named_parameters() if name.endswith("weight"))


def part_a(bench: Bench) -> None:
    """Compare every kernel and gradient with float64."""
    exact = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    dtypes = [torch.float32, torch.bfloat16, torch.float16]
    shapes = [((37,), False), ((1030,), False), ((7, 5, 9), False), ((19, 6, 7), True)]
    if bench.dry:
        dtypes, shapes = dtypes[:2], shapes[::2]
    for dtype in dtypes:
        worst: dict[str, Error] = {}
        for seed, (steps, (shape, last)) in enumerate(
            (steps, pair) for steps in ((1, 5) if bench.dry else (1, 4, 7, 32)) for pair in shapes
        ):
            for found in kernel_errors(
                bench, dtype, shape, steps, channels_last=last,
                reset=("subtract", "zero", "none")[seed % 3], seed=seed,
            ):  # fmt: skip
                if found.name not in worst or not found.error <= worst[found.name].error:
                    worst[found.name] = found
        for error in worst.values():
            bench.add("a", dtype=str(dtype)[6:], check=error.name, error=error.error,
                      right=error.error <= error.most)  # fmt: skip
    names = ("mlp", "conv", "vgg8", "vgg8, all ingredients")
    for name in names[:2] if bench.dry else names:
        for rule in ("voltage", "surrogate"):
            bench.check_time()
            errors = list(network_errors(bench, name, rule, 5))
            bench.add("a", network=name, rule=rule, errors=[e.error for e in errors],
                      right=all(e.error <= e.most for e in errors))  # fmt: skip
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = exact


# (b) The neuron kernel.


def bandwidth(bench: Bench) -> float:
    """Return the GB/s that a large copy on the device reads and writes."""
    source = torch.rand((1 << 12) if bench.dry else (1 << 28), device=bench.device)
    target = torch.empty_like(source)
    _, median, _ = bench.milliseconds(lambda: target.copy_(source))
    return 2 * source.numel() * source.element_size() / median / 1e6


def neuron_rows(bench: Bench, current: Tensor) -> Iterator[tuple[str, Callable[[], object]]]:
    """Yield named steps of a layer of neurons alone: forward with all that learning needs."""
    engine, neuron = engine_for(bench.device), LIF(BETA)
    weights = torch.rand(len(current))

    def ours() -> None:
        # The spikes, the mean voltage that the loss compares, the gradient of its rectification,
        # and the presynaptic trace that the next layer learns from.
        ran = engine.neurons(neuron, current)
        grad = (ran.mean_voltage > 0).to(current.dtype)
        ran.spikes.weighted_sum(weights)
        del grad

    yield "sigprop_snn, forward and learning", ours
    yield "sigprop_snn, forward", lambda: engine.neurons(neuron, current)
    reference = ReferenceEngine()
    yield "sigprop_snn, reference engine", lambda: reference.neurons(neuron, current)
    try:
        from spikingjelly.activation_based import functional, surrogate
        from spikingjelly.activation_based import neuron as peers
    except ImportError as error:
        bench.add("b", left_out=f"spikingjelly: {error}")
        return
    grad = torch.rand_like(current)
    for backend in ("torch",) if bench.dry else ("triton", "cupy", "torch"):
        try:
            lif = peers.LIFNode(
                1 / (1 - BETA), decay_input=False, v_reset=None, detach_reset=True, step_mode="m",
                surrogate_function=surrogate.Sigmoid(),
            ).to(bench.device)  # fmt: skip
            lif.backend = backend
        except Exception as error:  # a peer's failure must not end the run
            bench.add("b", left_out=f"spikingjelly {backend}: {type(error).__name__}: {error}")
            continue

        def through(lif: nn.Module = lif) -> None:
            functional.reset_net(lif)
            x = current.detach().requires_grad_()
            lif(x).backward(grad)

        yield f"spikingjelly {backend}, forward and backward", through


def part_b(bench: Bench) -> None:
    """Time the neurons alone: N = 64, C = 65536, float16."""
    speed = bandwidth(bench)
    bench.add("b", copy_gb_per_s=speed)
    rows, size = (2, 70) if bench.dry else (64, 65536)
    for steps in (4,) if bench.dry else (4, 16, 32):
        current = torch.randn(steps, rows, size, device=bench.device).half()
        # The currents are read; a bit a spike, the mean voltage and the trace are written.
        moved = current.numel() * (current.element_size() + 1 / 8) + 8 * rows * size
        least = moved / speed / 1e6
        for name, step in neuron_rows(bench, current):
            bench.check_time()
            try:
                low, median, high = bench.milliseconds(step)
            except Exception as error:  # as above
                bench.add("b", left_out=f"{name}: {type(error).__name__}: {error}"[:200])
                continue
            bench.add("b", steps=steps, runner=name, ms=median, quartiles=[low, high],
                      of_bound=least / median)  # fmt: skip


# (c) A training step.


def graphed(bench: Bench, case: PeerCase) -> Task:
    """Return our step as a CUDA graph; on a CPU, the step itself."""
    spikes, labels = inputs_for(case, str(bench.device))
    network = network_for(case).to(bench.device)
    if bench.device.type != "cuda":
        optimizers = LocalOptimizers(network, partial(torch.optim.Adam, lr=1e-3))
        return Task(lambda: network.learn(spikes, labels, optimizers.step), [spikes])
    network.to(memory_format=torch.channels_last)
    make_optimizer = partial(torch.optim.Adam, lr=1e-3, fused=True, capturable=True)
    step = GraphedStep(
        network, LocalOptimizers(network, make_optimizer),
        precision=torch.bfloat16 if case.precision == "bf16" else None,
    )  # fmt: skip
    for _ in range(5):
        step(spikes, labels)
    return Task(lambda: step(spikes, labels), [spikes])


def step_row(bench: Bench, part: str, case: PeerCase, *, graph: bool = False, **more: Any) -> None:
    """Time one case and add its row; a failure becomes a row too."""
    bench.check_time()
    row: dict[str, Any] = {
        "library": case.library + (", graph" if graph else ""), "rule": case.rule,
        "network": case.network, "steps": case.steps, "batch": case.batch_size,
        "precision": case.precision, **more,
    }  # fmt: skip
    try:
        task = graphed(bench, case) if graph else make(case, str(bench.device))
        low, median, high = bench.milliseconds(task.step)
        row |= {"ms": median, "quartiles": [low, high]}
        if not graph:  # a graph keeps its memory between steps
            row["peak_mib"] = bench.peak_mib(task.step)
    except Exception as error:  # a peer's failure, or too little memory, must not end the run
        row["left_out"] = f"{type(error).__name__}: {error}"[:300]
    bench.add(part, **row)
    if bench.device.type == "cuda":
        task = None  # type: ignore[assignment]
        torch.cuda.empty_cache()


def part_c(bench: Bench) -> None:
    """Time a training step of three networks beside the peers."""
    sizes = [("vgg8", 4, 8, 128), ("mlp", 50, 2, 128), ("conv", 10, 2, 128)]
    if bench.dry:
        sizes = [("mlp", 5, 2, 4)]
    for network, steps, depth, batch in sizes:
        if bench.networks and network not in bench.networks:
            continue
        for precision in ("float32",) if bench.dry else ("bf16", "float32"):
            for rule in ("voltage", "surrogate"):
                case = PeerCase("sigprop_snn", rule, network, steps, depth, batch, precision)
                step_row(bench, "c", case, graph=True)
                if rule == "voltage":
                    step_row(bench, "c", case)
            for library in LIBRARIES:
                if library in ("sigprop_snn", "matrix products", "sinabs"):
                    continue
                if bench.libraries and library not in bench.libraries:
                    continue
                step_row(
                    bench, "c", PeerCase(library, "bptt", network, steps, depth, batch, precision)
                )


# (d) An epoch of VGG8.


def part_d(bench: Bench) -> None:
    """Time an epoch of VGG8 on pictures that lie on the device, with changes drawn there."""
    count, batch = (8, 4) if bench.dry else (PICTURES, 128)
    width = 1 / 32 if bench.dry else 1.0
    random = torch.Generator(bench.device).manual_seed(0)
    pictures = torch.randint(256, (count, 3, 32, 32), generator=random, device=bench.device)
    pictures = pictures.to(torch.uint8)
    labels = torch.randint(10, (count,), generator=random, device=bench.device)
    for rule in ("voltage", "surrogate"):
        bench.check_time()
        torch.manual_seed(0)
        network = vgg8((3, 32, 32), 10, width=width, rule=rule).to(bench.device)
        if bench.device.type == "cuda":
            network.to(memory_format=torch.channels_last)
            optimizers = LocalOptimizers(
                network, partial(torch.optim.Adam, lr=1e-3, fused=True, capturable=True)
            )
            learn: Callable[..., object] = GraphedStep(
                network, optimizers, precision=torch.bfloat16
            )
        else:
            learn = partial(network.learn, update=LocalOptimizers(network, torch.optim.Adam))
        # The first batches compile the kernels and capture the graph.
        pass_through(learn, pictures[: 10 * batch], labels[: 10 * batch], batch, random)
        synchronise(bench.device)
        start = time.perf_counter()
        pass_through(learn, pictures, labels, batch, random)
        synchronise(bench.device)
        seconds = time.perf_counter() - start
        bench.add(
            "d", rule=rule, pictures=count, steps=4, batch=batch, precision="bf16",
            epoch_seconds=seconds,
        )  # fmt: skip


def pass_through(
    learn: Callable[..., object],
    pictures: Tensor,
    labels: Tensor,
    batch: int,
    random: torch.Generator,
) -> None:
    """Learn from every picture once, in a new order."""
    order = torch.randperm(len(labels), generator=random, device=labels.device)
    for index in order[: len(order) // batch * batch].split(batch):
        x = pictures[index].float().div_(127.5).sub_(1.0)
        learn(x.expand(4, *x.shape), labels[index])


# (e) Scaling.


def part_e(bench: Bench) -> None:
    """Time our step over T and the batch size, beside spikingjelly; memory with online updates."""
    if bench.dry:
        step_row(
            bench, "e", PeerCase("sigprop_snn", "voltage", "mlp", 3, 2, 4, "float32"), graph=True
        )
        step_row(bench, "e", PeerCase("sigprop_snn", "online-voltage", "mlp", 3, 2, 4, "float32"))
        return
    for steps in (4, 8, 16, 32, 64):
        step_row(
            bench, "e", PeerCase("sigprop_snn", "voltage", "vgg8", steps, 8, 32, "bf16"), graph=True
        )
        # Without a graph for the memory: a graph keeps its own between steps.
        step_row(bench, "e", PeerCase("sigprop_snn", "voltage", "vgg8", steps, 8, 32, "bf16"))
        if steps <= 16:
            step_row(bench, "e", PeerCase("spikingjelly", "bptt", "vgg8", steps, 8, 32, "bf16"))
    for steps in (4, 16, 64):  # an update at every step keeps traces alone, for any T
        case = PeerCase("sigprop_snn", "online-voltage", "vgg8", steps, 8, 32, "bf16")
        step_row(bench, "e", case)
    for batch in (16, 64, 256, 512):
        step_row(
            bench, "e", PeerCase("sigprop_snn", "voltage", "vgg8", 4, 8, batch, "bf16"), graph=True
        )


PARTS: dict[str, Callable[[Bench], None]] = {
    "a": part_a, "b": part_b, "c": part_c, "d": part_d, "e": part_e,
}  # fmt: skip


def main() -> int:
    """Run the parts; return 1 if a kernel is wrong."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=8.0, help="leave out what does not fit")
    parser.add_argument("--parts", default="abcde", help="which of a, b, c, d and e")
    parser.add_argument("--networks", default="", help="of part c: vgg8, mlp, conv")
    parser.add_argument("--libraries", default="", help="peers of part c; all if not given")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write the rows")
    parser.add_argument("--dry", action="store_true", help="toy sizes on the CPU")
    given = parser.parse_args()
    warnings.filterwarnings("ignore")
    if not given.dry and not torch.cuda.is_available():
        print("torch finds no GPU; --dry runs everything at toy sizes on the CPU", file=sys.stderr)
        return 2
    device = torch.device("cpu" if given.dry else "cuda")
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = True
        torch.set_float32_matmul_precision("high")  # tf32, for every library alike
    bench = Bench(
        device, given.dry, time.perf_counter() + 60 * given.minutes, given.json,
        given.networks.split(",") if given.networks else (),
        given.libraries.split(",") if given.libraries else (),
    )  # fmt: skip
    try:
        for part in given.parts:
            PARTS[part](bench)
    except OutOfTimeError:
        print(f"{part}: the minutes are over; the rest is left out", flush=True)
    wrong = [row for row in bench.rows if row.get("right") is False]
    for row in wrong:
        print(f"wrong: {row}", flush=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
