"""The report of one run: a page that opens offline, and figures for papers."""

from evaluations.report.writing import write_report

__all__ = ["write_report"]
