"""The communication graph of a session, drawn from the hash of all signed keys: nobody chooses their neighbours."""

import numpy as np
from numpy.typing import NDArray

from secagg.crypto import derive, seeded_entropy
from secagg.graph import GraphPlan


class SessionGraph:
    """A Harary graph on a random ring of the cohort's positions, or the complete graph.

    Guarantee: a uniformly random ring, up to ties of 128-bit keys (probability below 2^-88 for a million clients), in
        the random-oracle model.
    """

    def __init__(self, plan: GraphPlan, *, session: bytes) -> None:
        self._plan = plan
        self._ring = _ring(session, plan.num_clients)
        self._place = np.empty_like(self._ring)
        self._place[self._ring] = np.arange(plan.num_clients)

    def neighbours(self, position: int) -> tuple[int, ...]:
        """The sorted neighbours of a client; the point of neighbour number i (from 0) in its sharings is i+1."""
        plan = self._plan
        if plan.complete:
            return tuple(other for other in range(plan.num_clients) if other != position)
        half = plan.degree // 2
        offsets = np.concatenate([np.arange(-half, 0), np.arange(1, half + 1)])
        return tuple(np.sort(self._ring[(self._place[position] + offsets) % plan.num_clients]).tolist())


def _ring(session: bytes, num_clients: int) -> NDArray[np.intp]:
    words = np.frombuffer(seeded_entropy(derive(session, "graph"))(16 * num_clients), dtype="<u8").reshape(2, -1)
    return np.lexsort((words[0], words[1]))
