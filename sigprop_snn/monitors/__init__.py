"""Measurements of a network: its cost, its updates, its voltages and its health."""

from sigprop_snn.monitors.cost import Cost, LayerCost, cost, format_energy
from sigprop_snn.monitors.energy import EnergyModel
from sigprop_snn.monitors.health import Finding, HealthCheck, HealthWarning, Limits, examine
from sigprop_snn.monitors.mean_input import mean_input_shares
from sigprop_snn.monitors.norms import LayerNorms, UpdateNorms, weight_norms
from sigprop_snn.monitors.operations import Operations, count_operations
from sigprop_snn.monitors.voltages import VoltageHistogram, voltage_histograms

__all__ = [
    "Cost",
    "EnergyModel",
    "Finding",
    "HealthCheck",
    "HealthWarning",
    "LayerCost",
    "LayerNorms",
    "Limits",
    "Operations",
    "UpdateNorms",
    "VoltageHistogram",
    "cost",
    "count_operations",
    "examine",
    "format_energy",
    "mean_input_shares",
    "voltage_histograms",
    "weight_norms",
]
