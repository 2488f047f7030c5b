"""Run a trained network in other simulators, and compare every spike.

The network leaves through NIR (`sigprop_snn.deploy.to_nir`), each simulator reads the graph with
its own importer, and the spikes of each layer are compared step by step. Where a simulator differs
by design, its reader here sets it as the network is; docs/nir.md lists the differences.

    sigprop-snn train mnist --network nir-conv --data-root data --out runs/m
    python benchmarks/simulators.py runs/m --samples 200
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sigprop_snn.deploy import Folded, fold, to_nir
from sigprop_snn.neurons import run
from sigprop_snn.training import load_run

Steps = dict[str, Tensor]
"""The output of each node at every step, `[T, B, ...]`."""


@dataclass(frozen=True)
class Reader:
    """A simulator's importer, and how its model runs.

    Attributes:
        package: its name.
        read: makes the model of a graph; `reset` is "zero" or "subtract", or none.
        batched: whether a step takes a batch; if not, the samples run one after the other.
        whole: whether the model takes all steps at once, `[B * T, ...]`.
        needs: packages that its importer needs, with their oldest version.
        before: packages, with their first version that its importer does not take.
    """

    package: str
    read: Callable[[Any, str | None, int], nn.Module]
    batched: bool = False
    whole: bool = False
    needs: tuple[tuple[str, tuple[int, ...]], ...] = ()
    before: tuple[tuple[str, tuple[int, ...]], ...] = ()


def _norse(graph: Any, reset: str | None, rows: int) -> nn.Module:
    norse = importlib.import_module("norse.torch")
    model: nn.Module = norse.from_nir(graph, ignore_warnings=True, dt=graph.metadata["dt"])
    if reset == "subtract":  # norse resets every imported neuron to zero
        by = importlib.import_module("norse.torch.functional.reset").reset_subtract
        for module in model.modules():
            parameters = getattr(module, "p", None)
            if hasattr(parameters, "reset_method"):
                module.p = parameters._replace(reset_method=by)
    return model


def _snntorch(graph: Any, reset: str | None, rows: int) -> nn.Module:
    importer = importlib.import_module("snntorch.import_nir")
    with contextlib.redirect_stdout(io.StringIO()):
        model: nn.Module = importer.import_from_nir(graph)
    return model


def _spikingjelly(graph: Any, reset: str | None, rows: int) -> nn.Module:
    exchange = importlib.import_module("spikingjelly.activation_based.nir_exchange")
    model: nn.Module = exchange.import_from_nir(graph, dt=graph.metadata["dt"])
    if reset == "subtract":  # it resets every imported neuron to zero
        for module in model.modules():
            if hasattr(module, "v_reset"):
                module.v_reset = None
    return model


def _sinabs(graph: Any, reset: str | None, rows: int) -> nn.Module:
    importer = importlib.import_module("sinabs.nir")
    activation = importlib.import_module("sinabs.activation")
    model: nn.Module = importer.from_nir(graph, batch_size=rows)
    for module in model.modules():
        if hasattr(module, "spike_fn"):
            module.spike_fn = activation.SingleSpike  # it sends several spikes in one step
            module.min_v_mem = None  # it bounds the voltage of IF from below
            if reset == "zero":  # it subtracts the threshold
                module.reset_fn = activation.MembraneReset()
    return model


READERS: dict[str, Reader] = {
    "snntorch": Reader("snntorch", _snntorch),
    "norse": Reader("norse", _norse),
    "sinabs": Reader(
        "sinabs", _sinabs, batched=True, whole=True, before=(("nir", (1, 0, 5)),)
    ),
    "spikingjelly": Reader(
        "spikingjelly", _spikingjelly, batched=True,
        needs=(("nir", (1, 0, 7)), ("nirtorch", (2, 6))),
    ),
}  # fmt: skip


def why_not(peer: str) -> str | None:
    """Return why a simulator can't run here, or none."""
    reader = READERS[peer]
    for package in ("nir", "nirtorch", reader.package):
        if find_spec(package) is None:
            return f"{package} is not installed"
    for package, least in reader.needs:
        if _numbers(version(package)) < least:
            wanted = ".".join(map(str, least))
            return f"the importer of {peer} needs {package} >= {wanted}, not {version(package)}"
    for package, first in reader.before:
        if _numbers(version(package)) >= first:
            wanted = ".".join(map(str, first))
            return f"the importer of {peer} needs {package} < {wanted}, not {version(package)}"
    return None


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".") if part.isdigit())


def simulate(peer: str, network: Any, inputs: Tensor) -> Steps:
    """Return the spikes of each layer of a network in another simulator, and the readout's current.

    Args:
        peer: a name in `READERS`.
        network: a network or a folded one.
        inputs: `[T, B, ...]`.

    Returns:
        By layer, `[T, B, ...]`; under "readout_weights" the current `[T, B, C]`.
    """
    folded = network if isinstance(network, Folded) else fold(network)
    resets = {_reset(layer.neuron) for _, layer in folded.named_layers()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        graph = to_nir(folded, peer, sample_shape=tuple(inputs.shape[2:]))
        reader = READERS[peer]
        nodes = [*folded.layers, "readout_weights"]
        with torch.no_grad():
            return _run(reader, graph, resets.pop() if len(resets) == 1 else None, inputs, nodes)


def _run(reader: Reader, graph: Any, reset: str | None, inputs: Tensor, nodes: list[str]) -> Steps:
    steps, rows = inputs.shape[:2]
    if reader.whole:
        model = reader.read(graph, reset, rows)
        heard = _listen(model, nodes)
        model(inputs.transpose(0, 1).flatten(0, 1))
        return {
            name: kept[0].view(rows, steps, *kept[0].shape[1:]).transpose(0, 1)
            for name, kept in heard.items()
        }
    if reader.batched:
        return _through_time(reader.read(graph, reset, rows), inputs, nodes)
    # A new model for each sample: a model may keep its state in itself.
    each = [
        _through_time(reader.read(graph, reset, 1), inputs[:, row], nodes) for row in range(rows)
    ]
    return {name: torch.stack([found[name] for found in each], dim=1) for name in nodes}


def _through_time(model: nn.Module, inputs: Tensor, nodes: list[str]) -> Steps:
    heard = _listen(model, nodes)
    state: Any = None
    for step in inputs:
        out = model(step) if state is None else model(step, state)
        state = out[1] if isinstance(out, tuple) else None
    return {name: torch.stack(kept) for name, kept in heard.items()}


def _listen(model: nn.Module, nodes: Iterable[str]) -> dict[str, list[Tensor]]:
    """Keep the outputs of the modules of these names."""
    modules = dict(model.named_modules())
    heard: dict[str, list[Tensor]] = {name: [] for name in nodes}
    for name, kept in heard.items():

        def hook(_: nn.Module, __: Any, out: Any, kept: list[Tensor] = kept) -> None:
            kept.append((out[0] if isinstance(out, tuple) else out).detach().float())

        modules[name].register_forward_hook(hook)
    return heard


def _reset(neuron: Any) -> str:
    return str(neuron.reset_mode)


def scores_of(folded: Folded, current: Tensor) -> Tensor:
    """Return the mean voltages `[B, C]` of the readout for its current `[T, B, C]`."""
    return run(folded.readout.neuron, current).mean_voltage


def compare(network: Any, inputs: Tensor, labels: Tensor, peers: Iterable[str]) -> list[list[str]]:
    """Return the rows of a table: the network here, and in each simulator.

    Args:
        network: the network.
        inputs: `[T, B, ...]`.
        labels: `[B]`.
        peers: names in `READERS`.
    """
    folded = fold(network)
    ours = {name: each["spike"] for name, each in folded.record(inputs).items() if "spike" in each}
    own = (folded(inputs).argmax(1) == labels).float().mean().item()
    counts = [f"{ours[name].sum() / len(labels):.1f}" for name in ours]
    rows = [["simulator", *ours, "equal spikes (%)", "accuracy (%)"]]
    rows.append(["sigprop_snn", *counts, "", f"{100 * own:.1f}"])
    for peer in peers:
        reason = why_not(peer)
        if reason is None:
            try:
                found = simulate(peer, folded, inputs)
            except (RuntimeError, ValueError, AssertionError, KeyError, TypeError) as error:
                reason = f"{type(error).__name__}: {error}"
        if reason is not None:
            rows.append([peer, *["-"] * len(ours), "-", reason])
            continue
        equal = sum((found[name] == ours[name]).sum().item() for name in ours)
        whole = sum(each.numel() for each in ours.values())
        scores = scores_of(folded, found["readout_weights"])
        right = (scores.argmax(1) == labels).float().mean().item()
        sums = [f"{found[name].sum() / len(labels):.1f}" for name in ours]
        rows.append([peer, *sums, f"{100 * equal / whole:.4f}", f"{100 * right:.1f}"])
    return rows


def main() -> None:
    """Print the table for a run folder."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("run", type=Path, help="the run folder of a network without maximum pools")
    parser.add_argument("--samples", type=int, default=200)
    parser.add_argument("--data-root", type=Path)
    parser.add_argument("--peers", nargs="+", choices=READERS, default=list(READERS))
    given = parser.parse_args()
    trained = load_run(given.run, data_root=given.data_root, device="cpu")
    inputs, labels = [], []
    for x, y in trained.data.test:
        inputs.append(x)
        labels.append(y)
        if sum(map(len, labels)) >= given.samples:
            break
    x, y = torch.cat(inputs, 1)[:, : given.samples], torch.cat(labels)[: given.samples]
    rows = compare(trained.network, x, y, given.peers)
    print(
        f"spikes of one sample by layer, mean of {len(y)} test samples of {trained.config.dataset}"
    )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    for row in rows:
        cells = [cell.rjust(width) for cell, width in zip(row[1:-1], widths[1:], strict=True)]
        print("  ".join([row[0].ljust(widths[0]), *cells, row[-1]]))


if __name__ == "__main__":
    main()
