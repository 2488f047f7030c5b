"""What is recorded of a layer: the samples without the contexts, under the names asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from sigprop_snn.errors import SigpropError


def first_rows(name: str, recorded: Tensor, rows: int, layer: Sequence[int]) -> Tensor:
    """Return the samples of what was recorded of all rows, contexts included.

    Args:
        name: the name of the recording.
        recorded: `[T, N, ...]`, or a state with the batch in another axis, such as the delay line
            `[T, D, N, ...]`.
        rows: number of samples.
        layer: the shape of the layer's voltage, `[N, ...]`.

    Raises:
        SigpropError: if no axis is known to be that of the N rows.
    """
    shape = tuple(recorded.shape[1:])
    if shape[-len(layer) :] == tuple(layer):
        return recorded.narrow(recorded.dim() - len(layer), 0, rows)
    if shape[:1] != tuple(layer[:1]):
        raise SigpropError(
            f"{name} has shape {list(shape)} at every step; expected {list(layer)}, or [N, ...] or "
            f"[..., *{list(layer)}] for the N = {layer[0]} samples and contexts"
        )
    return recorded[:, :rows]


def chosen_recordings(
    layer: str, found: Mapping[str, Tensor], names: tuple[str, ...]
) -> dict[str, Tensor]:
    """Return what is recorded of a layer under names; the input and the readout have one each.

    Raises:
        SigpropError: if the layer has nothing under these names.
    """
    chosen = {name: found[name] for name in names if name in found}
    if names and found and not chosen:
        raise SigpropError(
            f"{layer} has no recording of {', '.join(names)}; expected {', '.join(found)}"
        )
    return chosen
