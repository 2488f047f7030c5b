"""Comparing learning rules: the same network, data and number of epochs for each."""

from sigprop_snn.comparison.compare import Comparison, compare
from sigprop_snn.comparison.plan import trainings
from sigprop_snn.comparison.table import RuleRow, as_text, rows_of
from sigprop_snn.settings.compare_config import CompareConfig

__all__ = ["CompareConfig", "Comparison", "RuleRow", "as_text", "compare", "rows_of", "trainings"]
