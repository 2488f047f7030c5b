"""The part of the C file that learns."""

from __future__ import annotations

import torch

from sigprop_snn.fixed_point.arithmetic import EXPONENTS, mantissa_bits
from sigprop_snn.fixed_point.c_text import (
    Arrays,
    decay_text,
    joined,
    layer_name,
    state_type,
    top_of,
)
from sigprop_snn.fixed_point.formats import Decay, largest
from sigprop_snn.fixed_point.layers import IntegerLayer
from sigprop_snn.fixed_point.learning import (
    BIAS_SHIFT,
    READOUT_BIAS_SHIFT,
    IntegerLearner,
    TraceFormat,
)


class LearningSource:
    """Writes the learning of a row of linear layers.

    Args:
        learner: the learner.
        arrays: takes the declarations.
    """

    def __init__(self, learner: IntegerLearner, arrays: Arrays) -> None:
        self.learner = learner
        self.network = learner.network
        self.arrays = arrays
        self.layers = self.network.weighted
        #: The traces, by what they are of and how they decay: an input of two layers has one.
        self.traces: dict[tuple[int, Decay, TraceFormat], str] = {}
        self._declare()

    def source(self, part: str) -> str:
        """Return the C text; `part` is the text that does not depend on the network."""
        return "\n".join([self._defines(), part, self._contexts(), self._trace(), self._learn()])

    def _declare(self) -> None:
        learner, arrays = self.learner, self.arrays
        trace = state_type(self.network.format.trace_bits)
        for index in range(len(self.layers)):
            for source, size in self._sources(index):
                key = self._key(index, source)
                if key in self.traces:
                    continue
                name = f"snn_trace{len(self.traces)}"
                self.traces[key] = name
                arrays.add(trace, name, size)
                arrays.add("int32_t", f"{name}_sum", size)
            if index and learner.rule.centred:
                arrays.add(
                    "int32_t", f"{layer_name(self.network, index)}_mean", learner.means[index]
                )
        for index, layer in enumerate(self.network.layers):
            targets = learner.targets[index] if learner.targets else None
            size = learner.contexts.shape[0] * layer.neurons
            arrays.add(
                "int16_t", f"snn_block{index + 1}_target", size if targets is None else targets
            )
            arrays.add(
                state_type(layer.membrane_bits), f"snn_context{index + 1}_voltage", layer.neurons
            )
            arrays.add("int32_t", f"snn_context{index + 1}_sum", layer.neurons)
            arrays.add("uint8_t", f"snn_context{index + 1}_spike", layer.neurons)
        small = int(learner.contexts.abs().max()) < 1 << 15
        arrays.add(
            "int16_t" if small else "int32_t", "snn_contexts", learner.contexts, constant=True
        )
        widest = max(layer.weight.shape[0] for layer in self.layers)
        arrays.add("int16_t", "snn_own", widest)
        arrays.add("int32_t", "snn_error", widest)
        arrays.add("int32_t", "snn_noise", widest)
        arrays.add("int16_t", "snn_factor", max(layer.weight.shape[1] for layer in self.layers))
        if learner.rule.compare == "softmax":
            table = torch.tensor(EXPONENTS, dtype=torch.int32)
            arrays.add("uint32_t", "snn_exponents", table, constant=True)
        arrays.count(12)  # snn_count, snn_updates and snn_steps

    def _sources(self, index: int) -> list[tuple[int, int]]:
        """Return what a layer receives, as indices of layers with -1 for the input; and sizes."""
        if index == 0:
            return [(-1, self.layers[0].weight.shape[1])]
        if index < len(self.network.layers):
            return [(index - 1, self.layers[index].weight.shape[1])]
        return [(read, self.layers[read].weight.shape[0]) for read in self.network.readout.reads]

    def _key(self, index: int, source: int) -> tuple[int, Decay, TraceFormat]:
        return source, self.layers[index].decay, self.learner.trace_format(index)

    def _defines(self) -> str:
        rule = self.learner.rule
        lines = [
            f"#define SNN_WINNER {int(rule.compare == 'winner')}",
            f"#define SNN_MARGIN {rule.margin}",
            f"#define SNN_SCALE {rule.scale}",
            f"#define SNN_REFRESH {rule.refresh}",
            f"#define SNN_STORED_TOP {largest(rule.stored_bits)}",
            "",
            f"static uint32_t snn_count = {self.learner.count}u;",
            f"static uint32_t snn_updates = {self.learner.updates}u;",
            "static int32_t snn_steps = 0;",
        ]
        return "\n" + "\n".join(lines)

    def _contexts(self) -> str:
        """Return the function that passes the contexts through the hidden layers."""
        layers = self.network.layers
        first = layers[0].neurons
        lines = []
        clear = []
        for index, layer in enumerate(layers):
            name, size = f"snn_context{index + 1}", layer.neurons
            clear += [
                f"        for (i = 0; i < {size}; i++)",
                f"            {name}_voltage[i] = 0, {name}_sum[i] = 0;",
            ]
            if index:
                below = layers[index - 1].neurons
                lines += [
                    f"            snn_clear(snn_current, {size});",
                    f"            snn_add(snn_context{index}_spike, {below}, "
                    f"snn_block{index + 1}_weight, {size}, snn_current);",
                    f"            snn_finish(snn_current, {size}, 1, {layer.shift}, "
                    f"snn_block{index + 1}_bias);",
                ]
            lines.append(
                f"            snn_block{index + 1}_fire({name}_voltage, {name}_sum, {name}_spike);"
            )
        units = [
            f"        snn_unit(snn_context{index + 1}_sum, {layer.neurons}, "
            f"{mantissa_bits(layer.neurons)}, snn_block{index + 1}_target + c * {layer.neurons});"
            for index, layer in enumerate(layers)
        ]
        return f"""
/* Pass the contexts through the hidden layers. */
static void snn_refresh(void)
{{
    int c, t, i;
    for (c = 0; c < SNN_CLASSES; c++) {{
{joined(clear)}        for (t = 0; t < {self.learner.steps}; t++) {{
            for (i = 0; i < {first}; i++)
                snn_current[i] = snn_contexts[c * {first} + i];
{joined(lines)}        }}
{joined(units)}    }}
}}"""

    def _trace(self) -> str:
        """Return the functions that advance and forget the traces."""
        bits = self.network.format.trace_bits
        kind, top = state_type(bits), top_of(bits)
        forget, lines = [], []
        for (source, decay, format_), name in self.traces.items():
            size = self.layers[0].weight.shape[1]
            values = "input"
            if source >= 0:
                size, values = self.layers[source].weight.shape[0], f"snn_block{source + 1}_spike"
            lines += [
                f"    for (j = 0; j < {size}; j++) {{",
                f"        int32_t u = {name}[j];",
                f"        u = snn_saturated({decay_text(decay)} + (int32_t){values}[j] * "
                f"{1 << format_.fraction}, {top});",
                f"        {name}[j] = ({kind})u;",
                f"        {name}_sum[j] += u;",
                "    }",
            ]
            forget += [
                f"    for (j = 0; j < {size}; j++)",
                f"        {name}[j] = 0, {name}_sum[j] = 0;",
            ]
        return f"""
static void snn_trace(const uint8_t *input)
{{
    int j;
    snn_steps++;
{joined(lines)}}}

static void snn_forget(void)
{{
    int j;
    snn_steps = 0;
{joined(forget)}}}"""

    def _learn(self) -> str:
        rule, network = self.learner.rule, self.network
        lines = []
        for index, layer in enumerate(self.layers):
            name = layer_name(self.network, index)
            out, size = layer.weight.shape
            hidden = isinstance(layer, IntegerLayer)
            if hidden:
                lines.append(
                    f"    snn_layer_errors({name}_sum, {name}_target, {out}, {mantissa_bits(out)}, "
                    "label);"
                )
            else:
                lines += [
                    "    for (c = 0; c < SNN_CLASSES; c++)",
                    "        logit[c] = snn_shifted(snn_saturated(snn_score[c], 8388607), "
                    f"{network.readout.logit_shift});",
                    "    snn_errors(logit, label, 1, snn_error);",
                ]
            first = 0
            shift = self.learner.trace_format(index).shift
            for source, width in self._sources(index):
                mean = f"{name}_mean + {first}" if index and rule.centred else "0"
                lines.append(
                    f"    snn_presynaptic({self.traces[self._key(index, source)]}_sum, {width}, "
                    f"snn_steps, {shift}, {mean}, snn_factor + {first});"
                )
                first += width
            rate = rule.rate if hidden else rule.readout_rate
            bias_rate = rate - (BIAS_SHIFT if hidden else READOUT_BIAS_SHIFT)
            lines.append(
                f"    snn_change({name}_weight, {name}_bias, {out}, {size}, "
                f"{rate + 8 - rule.stored_bits}, {bias_rate}, {top_of(layer.membrane_bits)});"
            )
        return f"""
void snn_learn(int label);
void snn_learn(int label)
{{
    int32_t logit[SNN_CLASSES];
    int c;
    if (snn_steps == 0)
        return;
    if (snn_updates % SNN_REFRESH == 0)
        snn_refresh();
    snn_updates++;
{joined(lines)}}}"""


def learning_source(learner: IntegerLearner, arrays: Arrays, part: str) -> str:
    """Return the C text of a learner; its arrays are declared in `arrays`."""
    return LearningSource(learner, arrays).source(part)
