"""A sweep on the terminal."""

from rich.table import Table

from evaluations.spread import Spread
from evaluations.sweep.frontier import leak_of
from evaluations.sweep.grid import value_text
from evaluations.sweep.results import Sweep
from evaluations.sweep.series import leak_kinds


def screen(found: Sweep) -> Table:
    """A line for each point, with what its numbers do not carry below the table."""
    kinds = leak_kinds(found)
    table = Table(*found.axes, "ε spent", "accuracy [95 %]", "n", "F1", *(" ".join(kind) for kind in kinds), "frontier")
    table.caption = found.privacy.statement
    table.caption_justify = "left"
    for point in found.points:
        leaks = [leak_of(point, kind) for kind in kinds]
        table.add_row(
            *(value_text(value) for value in point.values.values()),
            f"{point.epsilon:.2f}",
            _words(point.accuracy),
            str(point.accuracy.n),
            f"{point.f1.mean:.3f}",
            *("–" if leak is None else _words(leak.value) for leak in leaks),
            "*" if point.frontier else "",
        )
    return table


def _words(found: Spread) -> str:
    ends = "" if found.low is None else f" [{found.low:.3f}, {found.high:.3f}]"
    return f"{found.mean:.3f}{ends}"
