"""What attacks got of trainings as they were run, over seeds."""

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from evaluations.spread import Spread, spread
from fedpeft_secure.result import AttackRow


class Leak(BaseModel):
    """What one attack got, no defence switched off: mean over the seeds in which it was measured.

    Args:
        view: what the attacker saw; where several views are as run, the one that leaks most.
        null: the same attack where there is nothing to find; its mean.
        excess: the value above the null control, seed by seed: the control has luck of its own.
        frontier: no other point is at least as good and leaks less.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    attack: str
    metric: str
    view: str
    value: Spread
    null: float | None
    excess: Spread | None = None
    frontier: bool = False


def leaks_over_seeds(by_seed: Sequence[Sequence[AttackRow]]) -> tuple[Leak, ...]:
    """One for each attack and metric, of the rows in which nothing was switched off.

    Args:
        by_seed: the rows of each training.
    """
    worst: dict[tuple[str, str], list[AttackRow]] = {}
    for rows in by_seed:
        best: dict[tuple[str, str], AttackRow] = {}
        for row in rows:
            name = (row.attack, row.metric)
            if row.replay or row.value is None:
                continue
            if name not in best or row.value > (best[name].value or 0.0):
                best[name] = row
        for name, row in best.items():
            worst.setdefault(name, []).append(row)
    return tuple(_leak(rows) for rows in worst.values())


def _leak(rows: Sequence[AttackRow]) -> Leak:
    nulls = [row.null for row in rows if row.null is not None]
    excesses = [row.value - row.null for row in rows if row.value is not None and row.null is not None]
    return Leak(
        attack=rows[0].attack,
        metric=rows[0].metric,
        view=rows[0].view,
        value=spread([row.value for row in rows if row.value is not None]),
        null=sum(nulls) / len(nulls) if nulls else None,
        excess=None if len(excesses) < len(rows) else spread(excesses),
    )
