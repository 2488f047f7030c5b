"""Networks of integers, as chips compute them: quantise, run and learn without a float."""

from sigprop_snn.fixed_point.arithmetic import plain_integers
from sigprop_snn.fixed_point.builders import integer_mlp
from sigprop_snn.fixed_point.c_source import c_source, write_c
from sigprop_snn.fixed_point.chips import CHIPS, Chip, Misfit, check_chip
from sigprop_snn.fixed_point.formats import Decay, Format
from sigprop_snn.fixed_point.layers import IntegerLayer, IntegerReadout
from sigprop_snn.fixed_point.learning import IntegerLearned, IntegerLearner, IntegerRule
from sigprop_snn.fixed_point.network import (
    IntegerNetwork,
    IntegerRun,
    integer_inputs,
    levels_for,
)
from sigprop_snn.fixed_point.quantise import (
    Quantised,
    learner_of,
    quantise,
    quantise_weights,
)
from sigprop_snn.fixed_point.training import QuantisedOptimizers

__all__ = [
    "CHIPS",
    "Chip",
    "Decay",
    "Format",
    "IntegerLayer",
    "IntegerLearned",
    "IntegerLearner",
    "IntegerNetwork",
    "IntegerReadout",
    "IntegerRule",
    "IntegerRun",
    "Misfit",
    "Quantised",
    "QuantisedOptimizers",
    "c_source",
    "check_chip",
    "integer_inputs",
    "integer_mlp",
    "learner_of",
    "levels_for",
    "plain_integers",
    "quantise",
    "quantise_weights",
    "write_c",
]
