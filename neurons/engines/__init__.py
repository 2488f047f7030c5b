"""Engines: how layers run, on which device, behind one contract."""

from sigprop_snn.neurons.engines.choice import ENGINES, engine_for, engine_named, use_engine
from sigprop_snn.neurons.engines.dense import DenseSpikes
from sigprop_snn.neurons.engines.engine import (
    Engine,
    MapNormaliser,
    MapStatistics,
    Normaliser,
    Run,
    Scale,
    Spikes,
)
from sigprop_snn.neurons.engines.plain import PlainSynapse, plain_synapse
from sigprop_snn.neurons.engines.reference import ReferenceEngine

__all__ = [
    "ENGINES",
    "DenseSpikes",
    "Engine",
    "MapNormaliser",
    "MapStatistics",
    "Normaliser",
    "PlainSynapse",
    "ReferenceEngine",
    "Run",
    "Scale",
    "Spikes",
    "engine_for",
    "engine_named",
    "plain_synapse",
    "use_engine",
]
