"""What a cell's numbers say, in one word: the same word in tables, pictures and on the screen."""

from typing import Literal

from evaluations.matrix.results import MatrixCell
from evaluations.report.elements import Tone
from evaluations.report.verdicts import guessed

Verdict = Literal["leaks", "hints", "nothing found", "not measured"]

CLEARLY = 0.1
"""How far above guessing an attack must surely be to be called a leak."""

TONES: dict[Verdict, Tone] = {"leaks": "bad", "hints": "warn", "nothing found": "good", "not measured": "muted"}


def verdict(cell: MatrixCell) -> Verdict:
    """Whether the interval lies above the null control and above chance, and clearly so.

    "Nothing found" is no proof of privacy: a better attack may find more.
    """
    if cell.low is None or cell.null is None:
        return "not measured"
    guessing = guessed(cell.metric, cell.null)
    if cell.low <= guessing:
        return "nothing found"
    return "leaks" if cell.low > guessing + CLEARLY else "hints"
