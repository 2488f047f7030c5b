"""Learning rules by name: signal propagation, its family, and the baselines beside it."""

from sigprop_snn.rules.catalogue import RULES, RuleChoice

__all__ = ["RULES", "RuleChoice"]
