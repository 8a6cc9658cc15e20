"""Metrics, reports and comparisons of finished runs."""

from evaluations.report import write_report

__all__ = ["write_report"]
