"""Stand-in."""

from sigprop_snn.neurons.kernels import Packed as _Packed

from sigprop_snn.neurons.engines.cpu.lif import LayerRun
from sigprop_snn.neurons.kernels import Packed as _Packed
from sigprop_snn.neurons.engines.cpu.spikes import PackedSpikes
from sigprop_snn.neurons.kernels import convolution as _old
from sigprop_snn.neurons.kernels import convolution_gradient as _grad


class SpikingConvolution:
    @classmethod
    def of(cls, spikes, weight, bias, padding):
        self = cls()
        self.old = _old.Convolution.of(
            _Packed(spikes.patterns, spikes.steps), weight, bias, padding
        )
        self.current_shape = self.old.shape
        return self

    def currents_at(self, rows, windows):
        return self.old.windows_at(rows, windows)

    def run(self, neuron, *, contexts=None, scale=None, record_voltage=False):
        ran = _old.run_convolution(
            neuron, self.old, riding=contexts, scale=scale, record=record_voltage
        )
        return LayerRun(PackedSpikes(*ran.activity), ran.voltage, ran.last_voltage, ran.voltage_sum)


def convolution_weight_gradient(spikes, grad, kernel, padding):
    return _grad.convolution_outer(_Packed(spikes.patterns, spikes.steps), grad, kernel, padding)


def gradient_pays(spikes):
    return _grad.outer_pays(_Packed(spikes.patterns, spikes.steps))
