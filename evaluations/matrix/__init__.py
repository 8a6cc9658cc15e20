"""The attack benchmark: attacks × views × defences, each cell with its interval, its null control and its cost."""

from evaluations.matrix.experiment import choose, matrix, require_complete
from evaluations.matrix.results import Matrix, read_submission
from evaluations.matrix.screen import markdown, screen

__all__ = ["Matrix", "choose", "markdown", "matrix", "read_submission", "require_complete", "screen"]
