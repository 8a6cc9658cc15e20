"""Linkability: are two messages of different rounds from the same client?"""

import numpy as np
from scipy.optimize import linear_sum_assignment

from attacks.base import Floats
from attacks.errors import AttackError


def link(first: Floats, second: Floats) -> np.ndarray:
    """For each message of the first round the one of the second that is taken for the same client's.

    The assignment of all clients together whose messages point in the most similar directions.

    Args: first, second: one message a row, shape (clients, dim); what is common to all is taken out.
    Returns: indices into `second`, shape (clients,).
    Raises: AttackError if the rounds have different shapes.
    """
    if first.shape != second.shape or first.ndim != 2:
        raise AttackError(f"both rounds need one message a client, got {first.shape} and {second.shape}")
    _, matched = linear_sum_assignment(-_directions(first) @ _directions(second).T)
    return np.asarray(matched)


def _directions(messages: Floats) -> Floats:
    centred = messages - messages.mean(axis=0)
    return np.asarray(centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-30))
