"""Disaggregation: sums over changing cohorts, with the public list of who took part, are equations in the clients.

Works as far as a client's update is the same in every round. It cannot work where the same clients take part in all of
them: then every equation is the same one.
"""

import numpy as np

from attacks.aggregate.differencing import cosine
from attacks.base import Floats
from attacks.errors import AttackError


def disaggregate(sums: Floats, participation: np.ndarray) -> Floats:
    """Each client's typical update, by least squares; of least norm where the equations leave it open.

    Args: sums: of the contributions, shape (rounds, dim). participation: who was in it, shape (rounds, clients), bool.
    Returns: shape (clients, dim).
    Raises: AttackError if the shapes do not fit.
    Source: Lam et al. 2021, *Gradient Disaggregation: Breaking Privacy in Federated Learning by Reconstructing the
        User Participant Matrix*, section 4; participation is public here, so that its reconstruction is not needed.
    """
    if sums.ndim != 2 or participation.ndim != 2 or len(sums) != len(participation):
        raise AttackError(f"sums {sums.shape} and participation {participation.shape} must have the same rounds")
    found, *_ = np.linalg.lstsq(participation.astype(np.float64), sums, rcond=None)
    return np.asarray(found)


def disaggregation_score(found: Floats, truth: Floats) -> tuple[float, float]:
    """(mean cosine with the own client's update, the same with the next client's: the null control).

    What all clients have in common is in every sum and is nobody's secret: the mean update is taken out of both.
    """
    own, true = found - found.mean(axis=0), truth - truth.mean(axis=0)
    following = np.roll(true, 1, axis=0)
    return (
        float(np.mean([cosine(a, b) for a, b in zip(own, true, strict=True)])),
        float(np.mean([cosine(a, b) for a, b in zip(own, following, strict=True)])),
    )
