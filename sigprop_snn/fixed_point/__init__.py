"""Networks of integers, as chips compute them: quantise, run and learn without a float."""

from sigprop_snn.fixed_point.arithmetic import plain_integers
from sigprop_snn.fixed_point.builders import integer_mlp
from sigprop_snn.fixed_point.c_source import c_source, write_c
from sigprop_snn.fixed_point.formats import Decay, Format
from sigprop_snn.fixed_point.layers import IntegerLayer, IntegerReadout
from sigprop_snn.fixed_point.learning import IntegerLearned, IntegerLearner, IntegerRule
from sigprop_snn.fixed_point.network import IntegerNetwork, IntegerRun, integer_inputs
from sigprop_snn.fixed_point.quantise import Quantised, quantise, quantise_weights

__all__ = [
    "Decay",
    "Format",
    "IntegerLayer",
    "IntegerLearned",
    "IntegerLearner",
    "IntegerNetwork",
    "IntegerReadout",
    "IntegerRule",
    "IntegerRun",
    "Quantised",
    "c_source",
    "integer_inputs",
    "integer_mlp",
    "plain_integers",
    "quantise",
    "quantise_weights",
    "write_c",
]
