"""snnTorch's neurons through the adapter, step by step against snnTorch itself."""

from __future__ import annotations

import copy

import pytest
import snntorch
import torch
from torch import nn

from sigprop_snn.errors import SigpropError
from sigprop_snn.neurons import LIF, SnnTorch, SnnTorchStyle, run, state_tensors

RESETS = ["subtract", "zero", "none"]
MODULES = {
    "Leaky": lambda **k: snntorch.Leaky(beta=0.8, **k),
    "Lapicque": lambda **k: snntorch.Lapicque(beta=0.8, **k),
    "Synaptic": lambda **k: snntorch.Synaptic(alpha=0.5, beta=0.8, **k),
    "Alpha": lambda **k: snntorch.Alpha(alpha=0.8, beta=0.6, **k),
    "RLeaky": lambda **k: snntorch.RLeaky(beta=0.8, linear_features=6, **k),
    "RSynaptic": lambda **k: snntorch.RSynaptic(alpha=0.5, beta=0.8, linear_features=6, **k),
    "RLeaky one to one": lambda **k: snntorch.RLeaky(beta=0.8, V=0.3, all_to_all=False, **k),
}
# The number of state tensors of each module; the voltage is the last one.
STATES = {"Leaky": 1, "Lapicque": 1, "Synaptic": 2, "Alpha": 3, "RLeaky": 2, "RSynaptic": 3}


def plain_loop(name, module, current):
    """A loop as in snnTorch's tutorials."""
    count = STATES[name.split()[0]]
    recurrent = name.startswith("R")
    states = [torch.zeros_like(current[0]) for _ in range(count)]
    spikes, voltages = [], []
    for step_current in current:
        spk, *states = module(step_current, *states)
        if recurrent:
            states = [spk, *states]
        spikes.append(spk)
        voltages.append(states[-1])
    return torch.stack(spikes), torch.stack(voltages), states


@pytest.fixture(params=list(MODULES), name="name")
def _name(request):
    return request.param


@pytest.mark.parametrize("reset", RESETS)
def test_the_adapter_is_snntorchs_own_loop(name, reset):
    torch.manual_seed(0)
    module = MODULES[name](reset_mechanism=reset)
    current = 1.5 * torch.randn(25, 4, 6) + 0.3
    ran = run(SnnTorch(copy.deepcopy(module)), current, record=("voltage",))
    spikes, voltages, states = plain_loop(name, module, current)
    assert torch.equal(ran.spike, spikes) and spikes.sum() > 20
    torch.testing.assert_close(ran.recorded["voltage"], voltages)
    kept = list(state_tensors(ran.state).values())
    assert len(kept) == len(states)
    for tensor in states:
        assert any(torch.equal(tensor, other) for other in kept)


def test_spikes_carry_the_gradient_of_the_module(name):
    torch.manual_seed(0)
    module = MODULES[name](spike_grad=snntorch.surrogate.fast_sigmoid(slope=5))
    current = torch.randn(6, 4, 6)
    grads = []
    for loop in (
        lambda x: run(SnnTorch(copy.deepcopy(module)), x).spike,
        lambda x: plain_loop(name, module, x)[0],
    ):
        x = current.clone().requires_grad_()
        weights = torch.arange(6.0).view(6, 1, 1)
        (grad,) = torch.autograd.grad((weights * loop(x)).sum(), x)
        grads.append(grad)
    torch.testing.assert_close(*grads)
    assert grads[0].abs().sum() > 0


def test_spikes_are_detached_in_a_recurrent_module_too():
    """With detached spikes, earlier currents reach a voltage through the leak alone."""
    neuron = SnnTorch(MODULES["RLeaky"]())
    current = (2.0 + torch.rand(3, 2, 6)).requires_grad_()
    state = neuron.initial_state(current[0])
    for step_current in current:
        step = neuron.step(step_current, state, detach_spikes=True)
        state = step.state
    (grad,) = torch.autograd.grad(step.voltage.sum(), current)
    torch.testing.assert_close(grad[:, 0, 0], torch.tensor([0.64, 0.8, 1.0]))


def test_one_run_does_not_change_the_next(name):
    torch.manual_seed(0)
    neuron = SnnTorch(MODULES[name]())
    current = torch.randn(10, 4, 6)
    first = run(neuron, current).spike
    run(neuron, 5.0 + torch.randn(7, 2, 6))
    assert torch.equal(run(neuron, current).spike, first)
    assert all(b.numel() == 0 for n, b in neuron.module.named_buffers() if n in ("mem", "syn"))
    assert neuron.module.reset.numel() == 0
    run(neuron, current.requires_grad_())
    copy.deepcopy(neuron)  # fails if the module holds a graph


def test_two_runs_can_alternate(name):
    torch.manual_seed(0)
    neuron = SnnTorch(MODULES[name]())
    one, two = torch.randn(8, 3, 6), torch.randn(8, 5, 6)
    whole = [run(neuron, x).spike for x in (one, two)]
    states, parts = [neuron.initial_state(x[0]) for x in (one, two)], [[], []]
    for t in range(8):
        for i, x in enumerate((one, two)):
            step = neuron.step(x[t], states[i])
            states[i] = step.state
            parts[i].append(step.spike)
    for i in range(2):
        assert torch.equal(torch.stack(parts[i]), whole[i])


def test_learnable_settings_are_the_neurons_parameters():
    neuron = SnnTorch(snntorch.Leaky(beta=0.8, learn_beta=True, learn_threshold=True))
    assert {n for n, _ in neuron.named_parameters()} == {"module.beta", "module.threshold"}
    run(neuron, torch.rand(5, 2, 3)).mean_voltage.sum().backward()
    assert neuron.module.beta.grad is not None
    assert neuron.threshold is neuron.module.threshold


def test_inhibition_lets_one_neuron_fire():
    with pytest.warns(UserWarning, match="unstable"):
        module = snntorch.Leaky(beta=0.8, inhibition=True)
    ran = run(SnnTorch(module), 2.0 + torch.rand(6, 4, 5))
    assert (ran.spike.sum(-1) == 1).all()


def test_it_is_not_declared_linear():
    assert not SnnTorch(snntorch.Leaky(beta=0.8)).linear


@pytest.mark.parametrize(
    ("module", "match"),
    [
        (lambda: nn.ReLU(), "module is a ReLU; expected a snnTorch neuron of: Leaky"),
        (lambda: snntorch.Leaky(beta=0.9, init_hidden=True), "init_hidden=True"),
        (lambda: snntorch.Leaky(beta=0.9, reset_delay=False), "reset_delay=False"),
    ],
)
def test_other_modules_are_refused_by_name(module, match):
    with pytest.raises(SigpropError, match=match):
        SnnTorch(module())


def test_our_neuron_works_in_a_snntorch_network():
    """The loop of a snnTorch tutorial, with one neuron of each library."""
    torch.manual_seed(0)
    fc1, lif1 = nn.Linear(5, 6), SnnTorchStyle(LIF(0.9))
    fc2, lif2 = nn.Linear(6, 3), snntorch.Leaky(beta=0.9)
    mem1, mem2, spikes = None, lif2.init_leaky(), []
    for cur in 3.0 * torch.rand(10, 4, 5):
        spk1, mem1 = lif1(fc1(cur), mem1)
        spk2, mem2 = lif2(fc2(spk1), mem2)
        spikes.append(spk2)
    torch.stack(spikes).sum().backward()
    assert fc1.weight.grad.abs().sum() > 0 and mem1.voltage.shape == (4, 6)
