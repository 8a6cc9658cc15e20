"""How many neighbours a client needs and how many of them must answer, proven for a cohort and an adversary.

The graph is a Harary graph of even degree on a random permutation of the cohort, or the complete graph.
Source: Bell, Bonawitz, Gascón, Lepoint, Raykova, CCS 2020 (eprint 2020/704), sections 3–5.
"""

import math
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from itertools import accumulate

from secagg.errors import PlanError

SECURITY_BITS = 40
CORRECTNESS_BITS = 20
REDRAW_BITS = 64
MAX_CLIENTS = 1_000_000
_MARGIN = 1e-9  # log-space rounding, always added to a probability


@dataclass(frozen=True, kw_only=True, slots=True)
class GraphPlan:
    """A proven choice of degree and threshold.

    Guarantee: except with probability 2^-40 (2^-104 per graph, if the server may lie and re-draw it) no client has
        `threshold` corrupt neighbours (if the server may lie: 2·threshold > degree + corrupt neighbours) and the honest
        survivors stay connected; except with probability 2^-20 every client has `threshold` surviving neighbours.
    Assumes: at most `colluders` corrupt and `dropouts` vanishing clients among `num_clients`.
    Args: degree: neighbours of a client, itself excluded. threshold: shares that reconstruct a secret.
    """

    num_clients: int
    degree: int
    threshold: int
    colluders: int
    dropouts: int
    malicious_server: bool

    @property
    def complete(self) -> bool:
        """Whether everybody is everybody's neighbour."""
        return self.degree == self.num_clients - 1


def plan_graph(
    num_clients: int, *, adversarial_fraction: float, dropout_fraction: float, malicious_server: bool
) -> GraphPlan:
    """Finds the smallest proven degree and threshold.

    Args: num_clients: the cohort. adversarial_fraction, dropout_fraction: in [0, 1); at least one client each.
    Raises: PlanError, naming the smallest cohort that works.
    """
    _check_fractions(num_clients, adversarial_fraction, dropout_fraction)
    counts = count_up(num_clients, adversarial_fraction), count_up(num_clients, dropout_fraction)
    plan = _find(num_clients, *counts, malicious_server)
    if plan is None:
        raise PlanError(
            f"{num_clients} clients cannot bear {counts[0]} corrupt and {counts[1]} vanishing ones"
            f"{' under a server that may lie' if malicious_server else ''}; "
            + _smallest(num_clients, adversarial_fraction, dropout_fraction, malicious_server)
        )
    return plan


def plan_for_counts(num_clients: int, *, colluders: int, dropouts: int, malicious_server: bool) -> GraphPlan:
    """Finds degree and threshold for absolute numbers.

    A cohort that clients cannot verify to be a fair sample needs the number of corrupt clients of the whole directory.
    Raises: PlanError.
    """
    if num_clients < 1 or colluders < 1 or dropouts < 1:
        raise PlanError("num_clients, colluders and dropouts must be at least 1")
    plan = _find(num_clients, colluders, dropouts, malicious_server)
    if plan is None:
        raise PlanError(
            f"{num_clients} clients cannot bear {colluders} corrupt and {dropouts} vanishing ones; enlarge the cohort"
        )
    return plan


def reference_plan(
    num_clients: int, *, adversarial_fraction: float, dropout_fraction: float, malicious_server: bool
) -> GraphPlan:
    """Reproduces the published parameter finder, for comparison only: it assumes an honestly drawn graph and rounds the
    fractions down, so small cohorts get no protection at all.

    Source: the parameter finder of Google's open source secure aggregation (semi-malicious and curious server).
    Raises: PlanError where it finds nothing.
    """
    _check_fractions(num_clients, adversarial_fraction, dropout_fraction)
    bad = math.floor((adversarial_fraction + 1e-14) * num_clients)
    gone = num_clients - math.ceil((1 - dropout_fraction - 1e-14) * num_clients)
    for degree in range(2, num_clients - 1, 2):
        lowest, highest = _thresholds(
            num_clients,
            degree,
            colluders=bad,
            dropouts=gone,
            malicious_server=malicious_server,
            security_bits=SECURITY_BITS,
        )
        if lowest <= highest:
            return GraphPlan(
                num_clients=num_clients,
                degree=degree,
                threshold=max(lowest, 2),
                colluders=bad,
                dropouts=gone,
                malicious_server=malicious_server,
            )
    raise PlanError(f"the reference finds no sparse graph for {num_clients} clients; use plan_graph")


def _check_fractions(num_clients: int, adversarial_fraction: float, dropout_fraction: float) -> None:
    if not 1 <= num_clients <= MAX_CLIENTS:
        raise PlanError(f"num_clients = {num_clients} must be 1…{MAX_CLIENTS}")
    for name, value in (("adversarial_fraction", adversarial_fraction), ("dropout_fraction", dropout_fraction)):
        if not 0 <= value < 1:
            raise PlanError(f"{name} = {value} must be in [0, 1)")


def count_up(num_clients: int, fraction: float) -> int:
    """max(1, ⌈fraction·N⌉), with the fraction read as the decimal that was written."""
    return max(1, math.ceil(Fraction(repr(float(fraction))) * num_clients))


@lru_cache(maxsize=256)
def _find(num_clients: int, colluders: int, dropouts: int, malicious_server: bool) -> GraphPlan | None:
    security_bits = SECURITY_BITS + (REDRAW_BITS if malicious_server else 0)
    degree, threshold = _sparse(num_clients, colluders, dropouts, malicious_server, security_bits) or (
        num_clients - 1,
        (num_clients - 1 + colluders) // 2 + 1 if malicious_server else max(2, colluders + 1),
    )
    if threshold > degree - (dropouts if degree == num_clients - 1 else 0):
        return None
    return GraphPlan(
        num_clients=num_clients,
        degree=degree,
        threshold=threshold,
        colluders=colluders,
        dropouts=dropouts,
        malicious_server=malicious_server,
    )


def _sparse(
    num_clients: int, colluders: int, dropouts: int, malicious_server: bool, security_bits: int
) -> tuple[int, int] | None:
    if colluders + dropouts >= num_clients:
        return None
    for degree in range(2, num_clients - 1, 2):
        lowest, highest = _thresholds(
            num_clients,
            degree,
            colluders=colluders,
            dropouts=dropouts,
            malicious_server=malicious_server,
            security_bits=security_bits,
        )
        if max(lowest, 2) <= highest:
            return degree, max(lowest, 2)
    return None


def _smallest(num_clients: int, adversarial_fraction: float, dropout_fraction: float, malicious_server: bool) -> str:
    for larger in range(num_clients + 1, max(4 * num_clients, 200)):
        counts = count_up(larger, adversarial_fraction), count_up(larger, dropout_fraction)
        threshold = (larger - 1 + counts[0]) // 2 + 1 if malicious_server else max(2, counts[0] + 1)
        if threshold <= larger - 1 - counts[1]:
            return f"the smallest cohort that works has {larger} clients"
    return "no larger cohort works either; lower adversarial_fraction or dropout_fraction"


def _thresholds(
    num_clients: int, degree: int, *, colluders: int, dropouts: int, malicious_server: bool, security_bits: int
) -> tuple[int, int]:
    """The lowest secure and the highest correct threshold; the two security events share the budget."""
    log_event = -(security_bits + 1) * math.log(2)
    if _log_disconnected(num_clients, degree, colluders + dropouts) >= log_event:
        return 1, 0
    most_corrupt = _quantile(num_clients, colluders, degree, log_event - math.log(num_clients))
    # fewest surviving = degree - most vanishing: the same tail, of the vanishing ones
    most_gone = _quantile(num_clients, dropouts, degree, -CORRECTNESS_BITS * math.log(2) - math.log(num_clients))
    return (degree + most_corrupt) // 2 + 1 if malicious_server else most_corrupt + 1, degree - most_gone


def _log_disconnected(num_clients: int, degree: int, removed: int) -> float:
    """log P[two disjoint runs of degree/2 clients on the ring are all removed], by a union bound over pairs of runs."""
    if degree > removed:
        return -math.inf
    pairs = math.log(num_clients) + math.log(num_clients - degree - 1) - math.log(2)
    return pairs + _log_choose(num_clients - degree, removed - degree) - _log_choose(num_clients, removed) + _MARGIN


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def _quantile(population: int, marked: int, drawn: int, log_probability: float) -> int:
    """The smallest x with P[more than x marked among `drawn`] ≤ probability: hypergeometric, from the far end."""
    largest, smallest = min(marked, drawn), max(0, drawn + marked - population)
    base = _log_choose(population, drawn)
    logs = (
        _log_choose(marked, x) + _log_choose(population - marked, drawn - x) - base + _MARGIN
        for x in range(largest, smallest - 1, -1)
    )
    for x, tail in zip(range(largest, smallest - 1, -1), accumulate(logs, _log_add), strict=True):
        if tail > log_probability:
            return x
    return smallest


def _log_add(a: float, b: float) -> float:
    high, low = max(a, b), min(a, b)
    return high + math.log1p(math.exp(low - high))
