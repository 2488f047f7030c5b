"""Draw the voltage and the spikes of several neuron models that receive the same current."""

import argparse
from pathlib import Path

import torch

from sigprop_snn import plots
from sigprop_snn.neurons import (
    ALIF,
    IF,
    LIF,
    CurrentLIF,
    Izhikevich,
    Neuron,
    OneToOne,
    Recurrent,
    Refractory,
    decay,
    run,
)

MODELS: dict[str, Neuron] = {
    "IF": IF(),
    "LIF": LIF(beta=decay(tau=10.0, dt=1.0)),
    "LIF, refractory": Refractory(LIF(beta=decay(tau=10.0, dt=1.0)), steps=8),
    "CuBa": CurrentLIF(alpha=0.7, beta=0.7),
    "ALIF": ALIF(),
    "recurrent LIF": Recurrent(LIF(beta=decay(tau=10.0, dt=1.0)), OneToOne((1,))),
    "Izhikevich": Izhikevich(dt=1.0, current_scale=100.0),
}


def main() -> None:
    """Run the models on a step of current, and draw their voltages and spikes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=120, help="time steps of 1 ms")
    parser.add_argument("--current", type=float, default=0.2, help="size of the current")
    parser.add_argument("--out", type=Path, default=Path("neurons.png"))
    parser.add_argument("--quick", action="store_true", help="40 steps")
    args = parser.parse_args()
    steps = 40 if args.quick else args.steps

    torch.manual_seed(0)
    current = torch.zeros(steps, 1, 1)
    current[steps // 8 : -steps // 8] = args.current
    traces = {}
    for name, neuron in MODELS.items():
        with torch.no_grad():
            ran = run(neuron, current, record=("voltage",))
        traces[name] = (ran.recorded["voltage"].flatten(), ran.spike.flatten())
    lanes = plots.neuron_comparison(
        traces, current.flatten(), step_ms=1.0, title="neuron models under one current"
    )
    print(plots.save(lanes, args.out))


if __name__ == "__main__":
    main()
