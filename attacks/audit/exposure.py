"""Exposure of planted secrets: how high does the model rank the true one among all that it could have been?

Source: Carlini et al. 2019, *The Secret Sharer*, section 4.2.
"""

import math
from dataclasses import dataclass

import numpy as np

from attacks.base import Floats
from attacks.errors import AttackError
from attacks.intervals import bootstrap_two
from fedpeft_secure.adapters import AdapterState
from fedpeft_secure.data import LabelledTexts
from fedpeft_secure.server.evaluation import predict
from fedpeft_secure.server.federation import Federation

CODES = 10_000


def exposure(*, rank: int, candidates: int) -> float:
    """log₂ |R| − log₂ rank, in bits: 0 for the last of the candidates, log₂ |R| for the first.

    Raises: AttackError if not 1 ≤ rank ≤ candidates.
    """
    if not 1 <= rank <= candidates:
        raise AttackError(f"rank must lie in 1…{candidates}, got {rank}")
    return math.log2(candidates) - math.log2(rank)


@dataclass(frozen=True, kw_only=True, slots=True)
class Exposures:
    """What came of all planted secrets.

    Args:
        mean: exposure in bits.
        low, high: ends of its 95 % bootstrap interval over the secrets; None of one secret, which has no spread.
        null: the same of codes that were planted nowhere; the mean of a uniform rank is close to 1.44 bits.
        most: log₂ of the number of candidates.
        secrets: how many.
    """

    mean: float
    low: float | None
    high: float | None
    null: float
    most: float
    secrets: int


def secret_exposures(
    federation: Federation, state: AdapterState, *, candidates: int, rng: np.random.Generator
) -> Exposures:
    """Ranks each planted code by how much training lowered the loss of its text, beside texts with other codes.

    Does not cover: secrets that a classifier has no reason to tell apart; their exposure is that of the null.

    Args:
        federation: of a run on synthetic data with `data.synthetic.secrets_per_client` above 0.
        state: the trained adapter; the one before the first round is the reference.
        candidates: codes that are ranked, the true one among them.
        rng: draws the others.

    Raises: AttackError if nothing was planted, or there are fewer than two candidates.
    """
    planted = [
        (texts.texts[secret.row], int(texts.labels[secret.row]), secret.code)
        for texts, secrets in zip(federation.data.clients, federation.data.secrets, strict=True)
        for secret in secrets
    ]
    if not planted or not 2 <= candidates <= CODES:
        raise AttackError(
            f"exposure needs planted secrets (data.synthetic.secrets_per_client) and 2…{CODES} candidates"
        )
    found, null = [], []
    for text, label, code in planted:
        others = [f"{drawn:04d}" for drawn in rng.permutation(CODES) if f"{drawn:04d}" != code][:candidates]
        tried = [code, *others]
        texts = LabelledTexts(
            texts=tuple(text.replace(code, other) for other in tried), labels=np.full(len(tried), label)
        )
        examples = federation.tokenise(texts)
        before, after = (predict(federation.backbone, each, examples).losses for each in (federation.start, state))
        gains = before - after
        found.append(exposure(rank=_rank(gains[0], gains[1:candidates]), candidates=candidates))
        null.append(exposure(rank=_rank(gains[1], gains[2:]), candidates=candidates))
    mean = float(np.mean(found))
    low, high = _ends(found, rng) if len(found) > 1 else (None, None)
    return Exposures(
        mean=mean,
        low=low,
        high=high,
        null=float(np.mean(null)),
        most=math.log2(candidates),
        secrets=len(planted),
    )


def _ends(found: list[float], rng: np.random.Generator) -> tuple[float, float]:
    mean = float(np.mean(found))
    low, high = bootstrap_two(_mean_of_first, np.array(found), np.array(found), rng=rng)
    return min(float(low[0]), mean), max(float(high[0]), mean)


def _mean_of_first(first: Floats, _: Floats) -> Floats:
    return np.array([first.mean()])


def _rank(own: float, others: np.ndarray) -> int:
    """1 for the largest; a tie counts against the attacker."""
    return 1 + int((others >= own).sum())
