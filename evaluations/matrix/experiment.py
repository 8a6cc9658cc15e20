"""The whole matrix: every defence trained once, every attack played on it, whatever fails."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar, cast, get_args

import dp
import secagg
from attacks.errors import AttackError
from attacks.suite.run import ATTACKS
from evaluations.compare.arms import Arm
from evaluations.matrix.cells import attacked, defence_row, matrix_cell, trained
from evaluations.matrix.defences import FAST, FAST_ATTACKS, choose_defences
from evaluations.matrix.page import write_matrix_page
from evaluations.matrix.results import DefenceRow, Failure, Matrix, MatrixCell
from evaluations.training import require_simulation, without_notices
from fedpeft_secure.clients.backbone import new_store
from fedpeft_secure.config import Config
from fedpeft_secure.errors import FedPeftError, InputError, RunDirectoryError, RunFailedError
from fedpeft_secure.events import Listener, Notice
from fedpeft_secure.result import Result, ViewName
from fedpeft_secure.rundir import write_atomically

EXPECTED = (FedPeftError, AttackError, dp.PrivacyError, secagg.ProtocolError)
"""Failures that a line explains, and that stop no other cell."""

Made = TypeVar("Made")


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """What is to be measured.

    Args:
        attacks: names of `attacks.run`.
        views: that are kept.
        defences: names of defences; none for all there are.
    """

    attacks: tuple[str, ...]
    views: tuple[ViewName, ...]
    defences: tuple[str, ...]


def choose(*, attacks: Sequence[str], views: Sequence[str], defences: Sequence[str], fast: bool) -> Wanted:
    """What the command line asks for; the fast subset fills in what it leaves open.

    Raises:
        InputError: If a name is unknown.
    """
    names = get_args(ViewName)
    for option, given, known in (("--attacks", attacks, tuple(ATTACKS)), ("--views", views, names)):
        unknown = [name for name in given if name not in known]
        if unknown:
            raise InputError(f"{option} {unknown[0]}: there are {', '.join(known)}")
    return Wanted(
        attacks=tuple(dict.fromkeys(attacks)) or (FAST_ATTACKS if fast else tuple(ATTACKS)),
        views=cast(tuple[ViewName, ...], tuple(dict.fromkeys(views)) or names),
        defences=tuple(dict.fromkeys(defences)) or (FAST if fast else ()),
    )


def matrix(base: Config, wanted: Wanted, *, out: Path, listen: Listener) -> Matrix:
    """Measures what `out` does not hold yet, and writes `matrix.json`, `report.html` and `plots/` into it.

    One training a defence; each attack is played on its recorded round and replays, with the numbers of
    `fedpeft attack`. What fails is reported and stops nothing else; called again, it is tried again.

    Args:
        base: the configuration that all defences change.
        wanted: from `choose`.
        out: the directory of all cells.
        listen: told about progress.

    Raises:
        InputError: If a name is unknown, noise is secret, or `out` holds cells of another configuration.
        RunFailedError: If no defence was trained.
    """
    require_simulation(base, "fedpeft matrix")
    arms, refused = choose_defences(base, wanted.defences)
    listen_inside = without_notices(listen)
    store, progress = new_store(base), _Progress(listen=listen, total=len(arms) * (1 + len(wanted.attacks)))
    rows: list[DefenceRow] = []
    cells: list[MatrixCell] = []
    last: Result | None = None
    for arm in arms:
        folder = out / arm.name
        found = progress.of(arm, "", partial(trained, arm, base, folder=folder, store=store, listen=listen_inside))
        if found is None:
            continue
        last = found
        rows.append(defence_row(arm, base, found))
        for attack in wanted.attacks:
            played = progress.of(arm, attack, partial(attacked, attack, folder=folder, listen=listen_inside))
            cells += [matrix_cell(arm.name, row) for row in played or () if row.view in wanted.views]
    if last is None:
        reasons = [one.reason for one in progress.failures] or list(refused.values())
        raise RunFailedError(f"no defence was trained; the first: {reasons[0]}")
    made = Matrix(
        submission="fedpeft matrix",
        model=last.setup.model,
        data=last.setup.data,
        seed=base.seed,
        versions=last.environment.versions,
        processor=last.environment.processor,
        defences=tuple(rows),
        cells=tuple(cells),
        failures=tuple(progress.failures),
        refused=refused,
    )
    write_atomically(out / "matrix.json", made.to_json().encode())
    write_matrix_page(out, made)
    return made


def require_complete(found: Matrix) -> None:
    """Fails where a cell failed, once everything else is written.

    Raises:
        RunFailedError: Names the first.
    """
    if found.failures:
        first = found.failures[0]
        what = f"{first.attack} on {first.defence}" if first.attack else f"the training of {first.defence}"
        raise RunFailedError(
            f"{len(found.failures)} of the cells failed, the first ({what}): {first.reason}; the same command tries "
            "them again"
        )


@dataclass(kw_only=True, slots=True, eq=False)
class _Progress:
    """Counts what is done and keeps what failed."""

    listen: Listener
    total: int
    done: int = 0
    failures: list[Failure] = field(default_factory=list)

    def of(self, arm: Arm, attack: str, make: Callable[[], Made]) -> Made | None:
        """What `make` makes; None where it fails. A directory of other settings fails everything."""
        self.done += 1
        what = f"{arm.name}, {attack or 'training'} ({self.done} of {self.total})"
        try:
            made = make()
        except RunDirectoryError:
            raise
        except EXPECTED as error:
            reason = " ".join(str(error).split())
            self.failures.append(Failure(defence=arm.name, attack=attack, reason=reason))
            self.listen(Notice(text=f"{what} failed: {reason}"))
            return None
        self.listen(Notice(text=f"{what} done"))
        return made
