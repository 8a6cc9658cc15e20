"""The red team: plays the configured attacks against a trained run, as the run's last act."""

from attacks.suite.run import run_attacks

__all__ = ["run_attacks"]
