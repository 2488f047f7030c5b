"""Recurrence: against snnTorch, by hand, and the closed form of its weights against autograd."""

from __future__ import annotations

import pytest
import snntorch
import torch
from torch import nn

from sigprop_snn.errors import SigpropError
from sigprop_snn.neurons import (
    ALIF,
    IF,
    LIF,
    AllToAll,
    CurrentLIF,
    Izhikevich,
    OneToOne,
    Recurrent,
    Refractory,
    impulse_response,
    mean_trace,
    run,
    state_tensors,
)

F64 = torch.float64
# snnTorch keeps its settings in float32; these are exact there.
ALPHA, BETA = 0.625, 0.8125


def weighted(synapse, weight):
    with torch.no_grad():
        synapse.weight.copy_(weight)
    return synapse


def test_golden_trace_one_to_one():
    """IF, weight 1/2: a spike adds half a unit one step later."""
    neuron = Recurrent(IF(), weighted(OneToOne((1,)), torch.tensor([0.5])))
    current = torch.tensor([1.5, 0.25, 0.0, 0.0], dtype=F64).view(-1, 1, 1)
    ran = run(neuron, current, record=("voltage", "last_spike"))
    assert ran.recorded["voltage"].flatten().tolist() == [1.5, 1.25, 0.75, 0.75]
    assert ran.spike.flatten().tolist() == [1.0, 1.0, 0.0, 0.0]
    assert torch.equal(ran.recorded["last_spike"], ran.spike)


def test_golden_trace_all_to_all():
    """Neuron 0 drives neuron 1, and neuron 1 drives nothing."""
    weight = torch.tensor([[0.0, 0.0], [2.0, 0.0]])
    neuron = Recurrent(IF(), weighted(AllToAll((2,)), weight))
    current = torch.zeros(3, 1, 2)
    current[0, 0, 0] = 1.5
    ran = run(neuron, current)
    assert ran.spike[:, 0].tolist() == [[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]


@pytest.mark.parametrize("kind", ["all-to-all", "one-to-one"])
def test_a_recurrent_lif_is_snntorchs_rleaky(kind):
    """Below twice the threshold, snnTorch's reset without delay is ours."""
    torch.manual_seed(0)
    if kind == "all-to-all":
        theirs = snntorch.RLeaky(beta=BETA, linear_features=10, reset_delay=False)
        nn.init.zeros_(theirs.recurrent.bias)
        nn.init.uniform_(theirs.recurrent.weight, -0.2, 0.1)
        ours = Recurrent(LIF(BETA), weighted(AllToAll((10,)), theirs.recurrent.weight))
    else:
        v = torch.rand(10) - 0.7
        theirs = snntorch.RLeaky(beta=BETA, V=v, all_to_all=False, reset_delay=False)
        ours = Recurrent(LIF(BETA), weighted(OneToOne((10,)), v))
    theirs = theirs.double()
    current = 0.7 * torch.rand(40, 6, 10, dtype=F64)
    ran = run(ours.double(), current, record=("reset_voltage",))
    spk = mem = torch.zeros(6, 10, dtype=F64)
    for t, step_current in enumerate(current):
        spk, mem = theirs(step_current, spk, mem)
        spk = spk.double()
        assert torch.equal(ran.spike[t], spk)
        torch.testing.assert_close(ran.recorded["reset_voltage"][t], mem)
    assert ran.spike.sum() > 100


def test_a_recurrent_current_based_lif_is_snntorchs_rsynaptic_step_by_step():
    """Our state is below the threshold, so snnTorch's delayed reset does nothing."""
    torch.manual_seed(0)
    theirs = snntorch.RSynaptic(alpha=ALPHA, beta=BETA, linear_features=10).double()
    nn.init.zeros_(theirs.recurrent.bias)
    ours = Recurrent(CurrentLIF(ALPHA, BETA, reset="zero"), AllToAll((10,))).double()
    weighted(ours.synapse, theirs.recurrent.weight)
    state = ours.initial_state(torch.zeros(6, 10, dtype=F64))
    fired = 0
    for _ in range(30):
        current = 0.5 * torch.randn(6, 10, dtype=F64)
        spk, syn, mem = theirs(current, state.last_spike, state.inner.synaptic, state.voltage)
        step = ours.step(current, state)
        assert torch.equal(step.spike, spk.double())
        torch.testing.assert_close(step.voltage, mem)
        torch.testing.assert_close(step.state.inner.synaptic, syn)
        state = step.state
        fired += int(spk.sum())
    assert fired > 100


@pytest.mark.parametrize("inner", [LIF, CurrentLIF, ALIF, Izhikevich])
def test_with_zero_weights_it_is_the_inner_neuron(inner):
    neuron = Recurrent(inner(), weighted(AllToAll((4,)), torch.zeros(4, 4)))
    current = 2.0 * torch.randn(20, 3, 4)
    assert torch.equal(run(neuron, current).spike, run(inner(), current).spike)
    assert neuron.threshold == inner().threshold and neuron.unit == inner().unit
    assert neuron.linear == inner().linear


@pytest.mark.parametrize("model", [LIF, CurrentLIF, ALIF])
@pytest.mark.parametrize("synapse", [AllToAll, OneToOne])
def test_recurrent_weights_have_the_closed_form_over_the_delayed_spikes(model, synapse):
    """The gradient of the mean voltage through all steps, with detached spikes, is one pass of the
    recurrent synapse over the mean trace of the layer's spikes, delayed by one step."""
    neuron = Recurrent(model(), synapse((5,))).double()
    current = torch.randn(15, 3, 5, dtype=F64) + 0.5
    weights = torch.randn(3, 5, dtype=F64)

    state, total, spikes = neuron.initial_state(current[0]), 0.0, []
    for step_current in current:
        state = neuron.integrate(step_current, state)
        total = total + state.voltage
        spikes.append(neuron.fire(state.voltage).detach())
        state = neuron.reset(state, spikes[-1])
    (expected,) = torch.autograd.grad((weights * total / 15).sum(), neuron.synapse.weight)

    own = torch.stack([torch.zeros_like(spikes[0]), *spikes[:-1]])
    trace, gain = mean_trace(own, impulse_response(neuron, 15))
    loss = (weights * gain * neuron.recurrence(trace)).sum()
    (closed,) = torch.autograd.grad(loss, neuron.synapse.weight)
    torch.testing.assert_close(closed, expected, rtol=1e-12, atol=1e-12)
    assert expected.abs().max() > 1e-3


def test_any_module_can_be_the_recurrence():
    conv = nn.Conv2d(2, 2, 3, padding=1, bias=False)
    neuron = Recurrent(LIF(), conv)
    assert run(neuron, torch.randn(4, 3, 2, 5, 5)).spike.shape == (4, 3, 2, 5, 5)
    assert neuron.closed_form
    assert not Recurrent(LIF(), nn.Sequential(conv, nn.Tanh())).linear


def test_all_to_all_flattens_pictures():
    neuron = Recurrent(LIF(), AllToAll((2, 3)))
    assert neuron.synapse.weight.shape == (6, 6) and neuron.synapse.bias is None
    assert run(neuron, torch.randn(4, 3, 2, 3)).spike.shape == (4, 3, 2, 3)


def test_the_recurrent_weights_are_parameters_and_visible_through_other_parts():
    neuron = Refractory(Recurrent(LIF(), OneToOne((3,))))
    assert [n for n, _ in neuron.named_parameters()] == ["neuron.synapse.weight"]
    assert neuron.recurrence is neuron.neuron.synapse
    assert LIF().recurrence is None
    names = state_tensors(neuron.initial_state(torch.zeros(1, 3)))
    assert list(names) == ["voltage", "last_spike", "waiting"]


def test_invalid_recurrence_is_refused():
    with pytest.raises(SigpropError, match=r"recurrence of Recurrent is \(2,\)"):
        Recurrent(LIF(), (2,))
    with pytest.raises(SigpropError, match="100,352 neurons"):
        AllToAll((32, 56, 56))
    with pytest.raises(SigpropError, match="recurrent already"):
        Recurrent(Recurrent(LIF(), OneToOne((2,))), OneToOne((2,)))
