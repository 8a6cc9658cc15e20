"""An empirical lower bound on ε from error rates, by exact binomial confidence limits."""

import math

from scipy.stats import beta

from attacks.audit.checks import check_fraction, check_part
from attacks.errors import AttackError


def epsilon_clopper_pearson(
    *,
    false_positives: int,
    false_negatives: int,
    positives: int,
    negatives: int,
    delta: float,
    alpha: float = 0.05,
    thresholds: int = 1,
) -> float:
    """The largest ε that the error rates of one attack refute, at joint confidence 1 − alpha.

    An (ε, δ)-private mechanism allows no test with TPR > e^ε FPR + δ. With a lower limit of the one rate and an upper
    limit of the other, each at alpha/2, ε ≥ ln((TPR_low − δ) / FPR_high).

    Guarantee: exceeds the true ε with probability at most alpha, if the threshold was fixed beforehand or is one of
        `thresholds` from a grid that was.
    Assumes: independent trials: each example's membership was drawn by its own fair coin, before any sampling.
    Does not cover: the choice of a threshold out of the scores themselves with thresholds=1; the mirrored test
        (TNR against FNR), which is another threshold.
    Args:
        false_positives: of `negatives` trials without the example. false_negatives: of `positives` trials with it.
        delta: of the claim under test. alpha: chance of a bound above the truth. thresholds: how many were tried.
    Returns:
        ≥ 0, in nats.
    Raises:
        AttackError: If a count or rate is out of range.
    Source: Jagielski, Ullman, Oprea 2020, *Auditing Differentially Private Machine Learning*, section 3;
        Nasr et al. 2021, section II.D; Bonferroni over the thresholds.
    """
    if positives < 1 or negatives < 1 or thresholds < 1:
        raise AttackError("positives, negatives and thresholds must be at least 1")
    check_part("false_positives", false_positives, negatives)
    check_part("false_negatives", false_negatives, positives)
    check_fraction("alpha", alpha)
    check_fraction("delta", delta, open_ends=False)
    side = alpha / thresholds / 2
    fpr_high = _upper(false_positives, negatives, side)
    power_low = 1 - _upper(false_negatives, positives, side)
    return max(math.log((power_low - delta) / fpr_high), 0.0) if power_low > delta else 0.0


def _upper(errors: int, trials: int, alpha: float) -> float:
    """The exact upper limit of a binomial rate, one-sided at `alpha`."""
    return 1.0 if errors == trials else float(beta.isf(alpha, errors + 1, trials - errors))
