"""The report of a run, on one page."""

from sigprop_snn.report.page import write_report

__all__ = ["write_report"]
