"""Cohort differencing: who knows all inputs of a sum but one knows that one.

No sum can prevent it, however secure: n − 1 colluders are too many for every protocol. What is left is noise.
"""

from collections.abc import Mapping

import numpy as np

from attacks.base import Floats
from attacks.errors import AttackError


def subtract_known(total: Floats, known: Mapping[str, Floats]) -> Floats:
    """What is left of a sum once the colluders' own contributions are taken out.

    Args: total: of all contributions, shape (dim,). known: {colluder: its contribution}.
    Raises: AttackError if a shape does not fit.
    """
    if any(vector.shape != total.shape for vector in known.values()):
        raise AttackError(f"known contributions must have the sum's shape {total.shape}")
    return total - np.sum([*known.values(), np.zeros_like(total)], axis=0)


def cosine(left: Floats, right: Floats) -> float:
    """How alike two directions are; 0 where one of them is none."""
    lengths = float(np.linalg.norm(left) * np.linalg.norm(right))
    return float(left @ right) / lengths if lengths else 0.0
