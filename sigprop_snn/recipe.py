"""The settings that a data set is trained with when a run does not choose others."""

# This module imports neither torch nor a catalogue: the command line needs it for its help.

from __future__ import annotations

from dataclasses import dataclass

from sigprop_snn.predict import Predict


@dataclass(frozen=True)
class Recipe:
    """Default training settings of a data set.

    Attributes:
        network: a name in `sigprop_snn.network.NETWORKS`.
        epochs: passes over the training samples.
        steps: time steps T of a sample.
        batch_size: samples in a batch.
        learning_rate: learning rate of Adam in the first batch.
        augment: whether to change training samples at random; see `sigprop_snn.data.load`.
        predict: how the network predicts; see `Network`.
        sources: how many blocks below each block receives.
        loss: the local loss of the rules of signal propagation, a name in
            `sigprop_snn.network.LOSSES`.
        size: width and height of the frames of events, such as "17x17"; None is the sensor's.
    """

    network: str
    epochs: int
    steps: int
    batch_size: int
    learning_rate: float = 2e-3
    augment: bool = False
    predict: Predict = "readout"
    sources: int = 1
    loss: str = "dot-product"
    size: str | None = None


DEFAULT_RECIPE = Recipe("mlp", epochs=20, steps=10, batch_size=32)
"""For a data set without a recipe. `mlp` takes samples of every shape."""
