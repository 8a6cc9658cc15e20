"""Metrics, reports and comparisons of finished runs."""
