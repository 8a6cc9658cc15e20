"""What somebody who mistyped a name may have meant."""

import difflib
from collections.abc import Iterable


def did_you_mean(given: str, known: Iterable[str], *, closeness: float = 0.75) -> str:
    """The end of an error message: "; did you mean …?" with the nearest of `known`, or empty where none is near.

    Args:
        given: as it was typed; case and hyphens do not matter.
        known: names that there are.
        closeness: from 0 to 1, what share of the letters must agree.
    """
    near = difflib.get_close_matches(given.lower().replace("-", "_"), list(known), n=1, cutoff=closeness)
    return f"; did you mean {near[0]!r}?" if near else ""
