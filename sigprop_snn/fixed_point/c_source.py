"""An integer network as one C99 file, without libraries and without a heap."""

from __future__ import annotations

import math
import os
from importlib import resources
from pathlib import Path

from sigprop_snn.arguments import instance, path, refused
from sigprop_snn.files import write_text_atomically
from sigprop_snn.fixed_point.c_learning import learning_source
from sigprop_snn.fixed_point.c_text import (
    Arrays,
    comment,
    decay_text,
    joined,
    layer_name,
    state_type,
    top_of,
)
from sigprop_snn.fixed_point.layers import IntegerLayer
from sigprop_snn.fixed_point.learning import IntegerLearner
from sigprop_snn.fixed_point.network import IntegerNetwork, Shape, halved_shape


def c_source(network: IntegerNetwork | IntegerLearner, name: str = "network") -> str:
    """Return the C99 text of a network, or of a network with its learning.

    The program has `snn_reset()`, `snn_step(input)`, `snn_answer()` and `snn_score[]`; a learner
    adds `snn_learn(label)`. Spikes, scores and learned weights equal those of the Python objects
    to the bit, for one row at a time.

    Args:
        network: the network for inference, or a learner.
        name: for the comment at the top.

    Raises:
        SigpropError: if an argument has the wrong type.
    """
    if not isinstance(network, IntegerNetwork | IntegerLearner):
        raise refused("network", network, "an IntegerNetwork or an IntegerLearner")
    instance("name", name, str, "text")
    return _Program(network).text(name)


def write_c(
    network: IntegerNetwork | IntegerLearner, file: str | os.PathLike[str], name: str = "network"
) -> Path:
    """Write the C99 file of a network; see `c_source`. Return its path."""
    out = path("file", file)
    write_text_atomically(out, c_source(network, name))
    return out


class _Program:
    """Writes the parts of a program in the order of the file."""

    def __init__(self, given: IntegerNetwork | IntegerLearner) -> None:
        self.learner = given if isinstance(given, IntegerLearner) else None
        self.network = given.network if isinstance(given, IntegerLearner) else given
        self.shapes = self.network.shapes()
        layers = self.network.layers
        self.pools = any(layer.pools for layer in layers) or any(self.network.readout.pools)
        self.arrays = Arrays()
        classes = self.network.readout.weight.shape[0]
        self.widest = max(classes, *(math.prod(shape[1]) for shape in self.shapes))

    def text(self, name: str) -> str:
        """Return the whole file."""
        self._declare()
        network = self.network
        body = [_part("arithmetic.c")]
        if any(layer.is_convolution for layer in network.layers):
            body.append(_part("convolution.c"))
        if self.pools:
            body.append(_part("pool.c"))
        body += [self._fire(index, layer) for index, layer in enumerate(network.layers)]
        if self.learner is not None:
            body.append(learning_source(self.learner, self.arrays, _part("learning.c")))
        body += [self._reset(), self._step(), _ANSWER]
        return "\n".join([self._head(name), self.arrays.text(), "", *body])

    def _head(self, name: str) -> str:
        network, learner = self.network, self.learner
        inputs, classes = math.prod(network.sample_shape), network.readout.weight.shape[0]
        sizes = [inputs, *(math.prod(shape[1]) for shape in self.shapes), classes]
        lines = [
            f"{name}: a spiking network in integer arithmetic, {'-'.join(map(str, sizes))}, with "
            f"weights of {network.format.weight_bits} bits and membranes of "
            f"{network.format.membrane_bits} bits.",
            "",
            f"Constants: {self.arrays.bytes(constant=True)} bytes. Memory that is written: "
            f"{self.arrays.bytes(constant=False)} bytes, and the stack.",
            "",
            f"snn_reset() starts a sample. snn_step(input) takes a time step of {inputs} inputs "
            f"from 0 to 255; an input of 1, or full brightness, is {network.levels}. snn_answer() "
            "returns the class with the highest snn_score[].",
        ]
        if learner is not None:
            lines.append("snn_learn(label) changes the weights by the steps since snn_reset().")
        bits = learner.rule.stored_bits if learner is not None else 8
        fraction = learner.fraction if learner is not None else 0
        weight = "(stored)"
        if fraction:
            weight = f"snn_weight(stored, {fraction}, {network.format.largest_weight})"
        return "\n".join(
            [
                comment(lines),
                "",
                "#include <stdint.h>",
                "",
                f"#define SNN_INPUTS {inputs}",
                f"#define SNN_CLASSES {classes}",
                f"#define SNN_WIDEST {self.widest}",
                f"#define SNN_WEIGHT(stored) {weight}",
                "",
                f"typedef {'int8_t' if bits <= 8 else 'int16_t'} snn_weight_t;",
                "",
                *([_STORED] if fraction else []),
            ]
        )

    def _declare(self) -> None:
        """Declare weights and states."""
        learner, arrays = self.learner, self.arrays
        learns = learner is not None
        kind = "int16_t" if learner is not None and learner.rule.stored_bits > 8 else "int8_t"
        layers = self.network.weighted
        for index, layer in enumerate(layers):
            name = layer_name(self.network, index)
            weight = learner.stored[index] if learner is not None else layer.weight
            # Linear layers are stored [in][out]: an input of 0 skips a row.
            rows = weight if weight.dim() == 4 else weight.t()
            arrays.add(kind, f"{name}_weight", rows, constant=not learns)
            arrays.add("int32_t", f"{name}_bias", layer.bias, constant=not learns)
            neurons = layer.weight.shape[0]
            if isinstance(layer, IntegerLayer):
                neurons = math.prod(self.shapes[index][1])
                arrays.add("uint8_t", f"{name}_spike", neurons)
                if not _single(layer):
                    arrays.add("int32_t", f"{name}_threshold", layer.threshold, constant=True)
                if learns:
                    arrays.add("int32_t", f"{name}_sum", neurons)
            arrays.add(state_type(layer.membrane_bits), f"{name}_voltage", neurons)
        arrays.add("int32_t", "snn_score", layers[-1].weight.shape[0], public=True)
        arrays.add("int32_t", "snn_current", self.widest)
        if self.pools:
            for name, most in (
                ("snn_pooled", max(layer.pools for layer in self.network.layers)),
                ("snn_read", max(self.network.readout.pools)),
            ):
                for half in "ab"[: min(most, 2)]:
                    arrays.add("uint8_t", f"{name}_{half}", max(1, self.widest // 4))

    def _fire(self, index: int, layer: IntegerLayer) -> str:
        """Return the function of a layer's neurons at one step."""
        name, learns = layer_name(self.network, index), self.learner is not None
        positions = math.prod(self.shapes[index][1][1:])
        size = math.prod(self.shapes[index][1])
        threshold = str(int(layer.threshold[0]))
        if not _single(layer):
            threshold = f"{name}_threshold[{'i' if positions == 1 else f'i / {positions}'}]"
        after = {"subtract": f"u - {threshold}", "zero": "0", "none": "u"}[layer.reset]
        kind = state_type(layer.membrane_bits)
        sums = "int32_t *sum, " if learns else ""
        top = top_of(layer.membrane_bits)
        return f"""
static void {name}_fire({kind} *voltage, {sums}uint8_t *spike)
{{
    int i;
    for (i = 0; i < {size}; i++) {{
        int32_t u = voltage[i];
        u = snn_saturated({decay_text(layer.decay)} + snn_current[i], {top});
        spike[i] = u > {threshold};
        voltage[i] = ({kind})(spike[i] ? {after} : u);{_SUM if learns else ""}
    }}
}}
"""

    def _reset(self) -> str:
        lines = []
        for index, layer in enumerate(self.network.weighted):
            name = layer_name(self.network, index)
            size = layer.weight.shape[0]
            cleared = [f"{name}_voltage"]
            if isinstance(layer, IntegerLayer):
                size = math.prod(self.shapes[index][1])
                cleared += [f"{name}_sum"] if self.learner is not None else []
            else:
                cleared += ["snn_score"]
            lines.append(
                f"    for (i = 0; i < {size}; i++)\n        "
                + ", ".join(f"{each}[i] = 0" for each in cleared)
                + ";"
            )
        if self.learner is not None:
            lines.append("    snn_forget();")
        return (
            "\nvoid snn_reset(void);\nvoid snn_reset(void)\n{\n    int i;\n" + joined(lines) + "}\n"
        )

    def _step(self) -> str:
        """Return the function of one time step of the network."""
        network, learns = self.network, self.learner is not None
        lines: list[str] = []
        source = "input"
        readout = network.readout
        for index, layer in enumerate(network.layers):
            name = layer_name(network, index)
            received, current, sent = self.shapes[index]
            neurons, positions = math.prod(current), math.prod(current[1:])
            lines.append(f"    snn_clear(snn_current, {neurons});")
            if layer.is_convolution:
                maps, rows, columns = received
                lines.append(
                    f"    snn_convolve({source}, {maps}, {rows}, {columns}, {name}_weight, "
                    f"{layer.neurons}, {layer.weight.shape[-1]}, {layer.padding}, snn_current);"
                )
            else:
                lines.append(
                    f"    snn_add({source}, {math.prod(received)}, {name}_weight, {neurons}, "
                    "snn_current);"
                )
            lines.append(
                f"    snn_finish(snn_current, {layer.neurons}, {positions}, {layer.shift}, "
                f"{name}_bias);"
            )
            sums = f"{name}_sum, " if learns else ""
            lines.append(f"    {name}_fire({name}_voltage, {sums}{name}_spike);")
            pooling, source = _pooled(f"{name}_spike", current, layer.pools, "snn_pooled")
            lines += [*pooling, *self._reading(index, source, sent)]
        decay = decay_text(readout.decay)
        kind = state_type(readout.membrane_bits)
        trace = "    snn_trace(input);\n" if learns else ""
        return f"""
void snn_step(const uint8_t input[SNN_INPUTS]);
void snn_step(const uint8_t input[SNN_INPUTS])
{{
    int32_t reading[SNN_CLASSES];
    int i;
    snn_clear(reading, SNN_CLASSES);
{joined(lines)}    snn_finish(reading, SNN_CLASSES, 1, {readout.shift}, snn_readout_bias);
    for (i = 0; i < SNN_CLASSES; i++) {{
        int32_t u = snn_readout_voltage[i];
        u = snn_saturated({decay} + reading[i], {top_of(readout.membrane_bits)});
        snn_readout_voltage[i] = ({kind})u;
        snn_score[i] += u;
    }}
{trace}}}
"""

    def _reading(self, layer: int, source: str, shape: Shape) -> list[str]:
        """Return the lines that add a layer's output to the readout, if the readout reads it."""
        readout = self.network.readout
        classes, lines, first = readout.weight.shape[0], [], 0
        for index, pools in zip(readout.reads, readout.pools, strict=True):
            size = math.prod(halved_shape(self.shapes[index][2], pools))
            if index == layer:
                pooling, part = _pooled(source, shape, pools, "snn_read")
                lines += [
                    *pooling,
                    f"    snn_add({part}, {size}, snn_readout_weight + {first * classes}, "
                    f"{classes}, reading);",
                ]
            first += size
        return lines


def _pooled(source: str, shape: Shape, times: int, target: str) -> tuple[list[str], str]:
    """Return the lines that pool spikes, and the name of the result: two buffers by turns."""
    lines, names = [], (f"{target}_a", f"{target}_b")
    for time in range(times):
        target = names[time % 2]
        maps, rows, columns = shape
        lines.append(f"    snn_pool({source}, {maps}, {rows}, {columns}, {target});")
        source, shape = target, halved_shape(shape, 1)
    return lines, source


def _single(layer: IntegerLayer) -> bool:
    """Return whether all neurons have one threshold."""
    return int(layer.threshold.min()) == int(layer.threshold.max())


def _part(name: str) -> str:
    folder = resources.files("sigprop_snn.fixed_point") / "c"
    return (folder / name).read_text(encoding="utf-8")


_SUM = "\n        sum[i] += u;"

_STORED = """/* Return the weight that the synapse uses: the top bits of a stored one, rounded. */
static int32_t snn_weight(int32_t stored, int fraction, int32_t top)
{
    const int32_t weight = (stored + ((int32_t)1 << (fraction - 1))) >> fraction;
    return weight > top ? top : weight < -top ? -top : weight;
}
"""

_ANSWER = """
int snn_answer(void);
int snn_answer(void)
{
    int best = 0, c;
    for (c = 1; c < SNN_CLASSES; c++)
        if (snn_score[c] > snn_score[best])
            best = c;
    return best;
}
"""
