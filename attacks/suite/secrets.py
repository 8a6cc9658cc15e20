"""What the trained model itself gives away of planted secrets, to anybody who has it."""

from attacks.audit.exposure import secret_exposures
from attacks.errors import AttackError
from attacks.suite.case import Case, not_measured
from fedpeft_secure.result import AttackRow, ViewName

ATTACK, METRIC = "exposure", "exposure (bits)"

CANDIDATES = 100
"""Codes that each planted one is ranked among."""


def exposure_rows(case: Case) -> tuple[AttackRow, ...]:
    """One row: the final model follows from the sums, so that whoever sees these sees it too."""
    view: ViewName = "sum-dp" if case.plan.private else "sum"
    if case.final is None:
        reason = "exposure looks at the trained model, and the run's checkpoints are gone"
        return (not_measured(ATTACK, METRIC, view, replay=False, reason=reason),)
    try:
        found = secret_exposures(case.federation, case.final, candidates=CANDIDATES, rng=case.rng(ATTACK))
    except AttackError as error:
        return (not_measured(ATTACK, METRIC, view, replay=False, reason=str(error)),)
    return (
        AttackRow(
            attack=ATTACK,
            view=view,
            replay=False,
            metric=METRIC,
            value=found.mean,
            low=found.low,
            high=found.high,
            null=found.null,
            note=f"the final model; {_planted(found.secrets)}, each ranked among {CANDIDATES} (at most "
            f"{found.most:.2f} bits, by blind ranking 1.44 in the mean)",
        ),
    )


def _planted(secrets: int) -> str:
    return "one planted code, which gives no interval" if secrets == 1 else f"{secrets} planted codes"
