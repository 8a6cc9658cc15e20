"""How well membership scores tell members from non-members, beside two groups of non-members compared alike."""

from dataclasses import dataclass, field

import numpy as np

from attacks.base import Floats, Score, score
from attacks.intervals import bootstrap_two, wilson
from attacks.roc import advantage, area, corners, roc, tpr_at
from fedpeft_secure.result import Estimate, RocRecord


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class MembershipGuess:
    """One score an example, shape (n,); higher says "member"."""

    scores: Floats = field(repr=False)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class MembershipTruth:
    """Which of the scored examples were in the batch, and a second group of those that were not.

    Args:
        members: indices of examples that were used.
        non_members: indices of examples that were not, with the members' mix of classes.
        control: more of the same as `non_members`: the null control tells these two apart.
        rng: of the bootstrap.
    """

    members: np.ndarray = field(repr=False)
    non_members: np.ndarray = field(repr=False)
    control: np.ndarray = field(repr=False)
    rng: np.random.Generator = field(repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Separation:
    """Area under the ROC curve, true positive rates at false positive rates of 1 % and 0.1 %, largest difference."""

    auc: float
    tpr_at_1_percent: float
    tpr_at_01_percent: float
    advantage: float


def separation(members: Floats, non_members: Floats) -> Separation:
    """Reads the whole ROC curve; ties move together.

    Does not cover: a false positive rate below 1 / (number of non-members) is read at no false positive at all; the
        advantage is searched over thresholds, so chance alone lies above 0.
    Source: Carlini et al. 2022, section III; Yeom et al. 2018, definition 4.
    """
    curve = roc(members, non_members)
    return Separation(
        auc=area(curve),
        tpr_at_1_percent=tpr_at(curve, fpr=0.01),
        tpr_at_01_percent=tpr_at(curve, fpr=0.001),
        advantage=advantage(curve),
    )


@score.register
def _(guess: MembershipGuess, truth: MembershipTruth) -> Score:
    return judge(guess, truth)[0]


def judge(guess: MembershipGuess, truth: MembershipTruth) -> tuple[Score, RocRecord]:
    """The score, and the whole curve behind it for reports."""
    members, non_members = guess.scores[truth.members], guess.scores[truth.non_members]
    value = separation(members, non_members)
    control = separation(guess.scores[truth.control], non_members)
    low, high = bootstrap_two(_vector, members, non_members, rng=truth.rng)
    at_1_percent = _rate(value.tpr_at_1_percent, low[1], high[1], members=members.size)
    at_01_percent = _rate(value.tpr_at_01_percent, low[2], high[2], members=members.size)
    true, false = corners(roc(members, non_members), members=members.size, non_members=non_members.size)
    curve = RocRecord(
        members=members.size,
        non_members=non_members.size,
        true_positives=true,
        false_positives=false,
        tpr_at_1_percent=at_1_percent,
        tpr_at_01_percent=at_01_percent,
        advantage=_estimate(value.advantage, low[3], high[3]),
        advantage_null=control.advantage,
    )
    found = Score(
        metric="AUC",
        value=value.auc,
        low=min(float(low[0]), value.auc),
        high=max(float(high[0]), value.auc),
        null=control.auc,
        remarks=(
            f"TPR at 1 % FPR {at_1_percent.value:.3f} [{at_1_percent.low:.3f}, {at_1_percent.high:.3f}]",
            f"at 0.1 % {at_01_percent.value:.3f} [{at_01_percent.low:.3f}, {at_01_percent.high:.3f}]",
            f"advantage {value.advantage:.3f} [{low[3]:.3f}, {high[3]:.3f}], control {control.advantage:.3f}",
            f"{members.size} members, {non_members.size} non-members",
        ),
    )
    return found, curve


def _estimate(value: float, low: float, high: float) -> Estimate:
    """With an interval that holds the value: percentiles of resamples need not."""
    return Estimate(value=value, low=min(float(low), value), high=max(float(high), value))


def _rate(value: float, low: float, high: float, *, members: int) -> Estimate:
    """A share of the members: no resample of members of whom nobody is named has one who is, so the bootstrap alone
    would be sure of 0 however few they are. The interval holds that of the share at a fixed threshold too."""
    least, most = wilson(round(value * members), members)
    return _estimate(value, min(float(low), least), max(float(high), most))


def _vector(members: Floats, non_members: Floats) -> Floats:
    found = separation(members, non_members)
    return np.array([found.auc, found.tpr_at_1_percent, found.tpr_at_01_percent, found.advantage])
