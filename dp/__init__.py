"""Differential privacy: events, accounting, ledger, noise and DP-SGD. Imports nothing of the other packages."""
