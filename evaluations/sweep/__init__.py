"""Sweeps: a grid over any settings, each point with its mean and interval over seeds, and the frontiers among them."""

from evaluations.sweep.experiment import Plan, new_plan, require_complete, sweep
from evaluations.sweep.results import Sweep
from evaluations.sweep.screen import screen

__all__ = ["Plan", "Sweep", "new_plan", "require_complete", "screen", "sweep"]
