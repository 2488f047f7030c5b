"""Stand-in."""

from sigprop_snn.neurons.kernels import Packed as _Packed
from sigprop_snn.neurons.kernels.listing import MOST_NEURONS as MOST_INPUTS  # noqa: F401

from sigprop_snn.neurons.engines.cpu.lif import LayerRun
from sigprop_snn.neurons.engines.cpu.spikes import PackedSpikes
from sigprop_snn.neurons.kernels import layer as _old
from sigprop_snn.neurons.kernels import product as _product
from sigprop_snn.neurons.kernels import rows as _rows
from sigprop_snn.neurons.kernels import windows as _windows
from sigprop_snn.neurons.kernels.listing import list_windows


class SpikingLinear:
    @classmethod
    def of(cls, spikes, weight, bias):
        self = cls()
        self.old = _old.Synapse.of(_Packed(spikes.patterns, spikes.steps), weight, bias)
        self.current_shape = self.old.shape
        return self

    def currents_at(self, rows, windows):
        return self.old.windows_at(rows, windows)

    def currents(self, dtype):
        return _windows.panels_product(self.old.windows, self.old.panels, self.old.columns, dtype)

    def run(self, neuron, *, contexts=None, scale=None, record_voltage=False):
        ran = _old.run_layer(neuron, self.old, riding=contexts, scale=scale, record=record_voltage)
        return LayerRun(PackedSpikes(*ran.activity), ran.voltage, ran.last_voltage, ran.voltage_sum)


def linear_weight_gradient(spikes, grad):
    return _product._outer(list_windows(_Packed(spikes.patterns, spikes.steps)), _Packed(spikes.patterns, spikes.steps), grad)


count_currents = _rows.rows_product
count_weight_gradient = _rows.rows_outer
density = _product._density
