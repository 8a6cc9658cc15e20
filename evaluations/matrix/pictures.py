"""The matrix as still pictures: a heat map for each attack."""

from functools import partial

import numpy as np
from matplotlib.figure import Figure

from evaluations.matrix.results import Matrix
from evaluations.report.stills import Drawing, blank_axes, stills
from evaluations.report.verdicts import VIEW_NAMES

SCALE = "OrRd"
DARK = 0.73
"""Share of the scale above which white text stands out better than black, at 4.5 : 1 at least."""


def pictures(found: Matrix) -> dict[str, bytes]:
    """`matrix-ATTACK` for each attack, as PNG and SVG."""
    attacks = dict.fromkeys(cell.attack for cell in found.cells)
    drawings: dict[str, Drawing] = {f"matrix-{attack}": partial(_heat_map, found, attack) for attack in attacks}
    return stills(drawings)


def ink(value: float) -> str:
    """The colour of the text on a cell."""
    return "white" if value > DARK else "black"


def _heat_map(found: Matrix, attack: str) -> Figure | None:
    cells = {(cell.defence, cell.view): cell for cell in found.cells if cell.attack == attack}
    defences = [row.defence for row in found.defences]
    views = list(dict.fromkeys(view for _, view in cells))
    if not any(cell.value is not None for cell in cells.values()):
        return None
    figure, axes = blank_axes(1.6 + 1.35 * len(views), 0.8 + 0.42 * len(defences))
    table = np.full((len(defences), len(views)), np.nan)
    axes.set_xticks(range(len(views)), [VIEW_NAMES[view] for view in views])
    axes.set_yticks(range(len(defences)), defences)
    axes.grid(visible=False)
    for (defence, view), cell in cells.items():
        if cell.value is None or cell.null is None or cell.low is None or cell.high is None:
            continue
        place = defences.index(defence), views.index(view)
        table[place] = cell.value
        star = "" if cell.replay else "*"
        words = f"{cell.value:.2f}{star} [{cell.low:.2f}, {cell.high:.2f}]\nnull {cell.null:.2f}"
        axes.text(place[1], place[0], words, ha="center", va="center", fontsize=6, color=ink(cell.value))
    axes.imshow(table, cmap=SCALE, vmin=0.0, vmax=1.0, aspect="auto")
    axes.set_title(f"{attack}: {next(iter(cells.values())).metric}  (* as it was run)", fontsize=9)
    return figure
