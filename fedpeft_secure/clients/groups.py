"""Which of a client's groups of privacy budgets each of its examples is in: by a column, or dealt by public shares."""

import bisect
import hashlib
from itertools import accumulate

import numpy as np

from fedpeft_secure.config import Config
from fedpeft_secure.data import LabelledTexts
from fedpeft_secure.errors import DataError


def group_names(texts: LabelledTexts, config: Config, client: str) -> tuple[str, ...]:
    """The group of each example, empty where all share one budget.

    Without a column the group follows from the seed and the example alone, so that one example more or less changes
    nobody else's: what neighbouring data sets need.

    Raises:
        DataError: A value of `data.budget_group` is no group of this client.
    """
    groups = config.groups_of(client)
    if not groups:
        return ()
    if texts.budget_groups is None:
        names = sorted(groups)
        bounds = list(accumulate(groups[name].share for name in names))
        return tuple(
            names[min(bisect.bisect(bounds, _draw(config.seed, text)), len(names) - 1)] for text in texts.texts
        )
    strangers = set(texts.budget_groups) - set(groups)
    if strangers:
        raise DataError(
            f"data.budget_group: {min(strangers)!r} is no group of {client}, which has {', '.join(sorted(groups))}; "
            "give it a budget in privacy.groups"
        )
    return texts.budget_groups


def group_indices(texts: LabelledTexts, config: Config, client: str) -> np.ndarray | None:
    """The same as indices into the client's groups by name, shape (n,); None where all share one budget."""
    if not (groups := config.groups_of(client)):
        return None
    index = {name: position for position, name in enumerate(sorted(groups))}
    return np.array([index[name] for name in group_names(texts, config, client)], dtype=np.int64)


def _draw(seed: int, text: str) -> float:
    """A number in [0, 1) that follows from seed and text."""
    digest = hashlib.sha256(f"fedpeft-secure/groups/v1/{seed}/".encode() + text.encode("utf-8", "surrogatepass"))
    return int.from_bytes(digest.digest()[:7], "big") / 2**56
