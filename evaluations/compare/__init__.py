"""Comparisons: the same partition and seeds for every strategy and baseline, with intervals of their differences."""

from evaluations.compare.arms import Arm, choose_arms
from evaluations.compare.experiment import compare
from evaluations.compare.table import Comparison, markdown, screen

__all__ = ["Arm", "Comparison", "choose_arms", "compare", "markdown", "screen"]
