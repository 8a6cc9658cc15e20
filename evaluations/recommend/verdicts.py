"""Whether a candidate keeps what is asked for, and how sure that is."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

from evaluations.leaks import Leak
from evaluations.recommend.evidence import Candidate
from evaluations.recommend.wishes import KIB, Wishes
from evaluations.spread import Spread
from fedpeft_secure.allocation.adaptive import menu_of
from fedpeft_secure.allocation.cost import Cost, cost_of
from fedpeft_secure.allocation.devices import MIB, Device
from fedpeft_secure.allocation.shapes import Choice
from fedpeft_secure.config import Config
from fedpeft_secure.errors import FedPeftError

NO_MODEL = "the cost model does not know this method or model"


class Kept(IntEnum):
    """How a wish fares: broken, not known, kept by the mean alone, or kept by the whole interval."""

    BROKEN = 0
    UNKNOWN = 1
    UNSURE = 2
    KEPT = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """One wish and one candidate.

    Args:
        wish: its name, for counting which one binds.
        client: whose it is; empty where it is everybody's.
        kept: how it fares.
        words: the figures.
    """

    wish: str
    client: str = ""
    kept: Kept
    words: str


def verdicts(candidate: Candidate, wishes: Wishes) -> tuple[Verdict, ...]:
    """Every wish."""
    return (
        *_utility(candidate, wishes),
        *_leakage(candidate, wishes),
        *_guarantee(candidate, wishes),
        *_budgets(candidate, wishes),
        *_costs(candidate, wishes),
    )


def overall(found: tuple[Verdict, ...]) -> Kept:
    """The worst of them."""
    return min((verdict.kept for verdict in found), default=Kept.KEPT)


def _utility(candidate: Candidate, wishes: Wishes) -> Iterator[Verdict]:
    if wishes.min_accuracy:
        value = candidate.accuracy
        kept = _above(value, wishes.min_accuracy)
        yield Verdict(wish="accuracy", kept=kept, words=f"{_words(value)} for a floor of {wishes.min_accuracy:g}")


def _leakage(candidate: Candidate, wishes: Wishes) -> Iterator[Verdict]:
    measured = {(leak.attack, leak.metric): leak for leak in candidate.leaks}
    for kind, ceiling in wishes.max_leaks.items():
        yield _leak(measured.get(kind), ".".join(kind), ceiling)
    if wishes.max_excess is None:
        return
    if not candidate.leaks:
        yield Verdict(wish="leakage", kept=Kept.UNKNOWN, words="no attack was run")
    for leak in candidate.leaks:
        yield _excess(leak, wishes.max_excess)


def _leak(leak: Leak | None, name: str, ceiling: float) -> Verdict:
    if leak is None:
        return Verdict(wish="leakage", kept=Kept.UNKNOWN, words=f"{name} was not measured")
    kept = _below(leak.value, ceiling)
    return Verdict(wish="leakage", kept=kept, words=f"{name} {_words(leak.value)} for a ceiling of {ceiling:.3f}")


def _excess(leak: Leak, ceiling: float) -> Verdict:
    name = f"{leak.attack}.{leak.metric}"
    if leak.excess is None:
        return Verdict(wish="leakage", kept=Kept.UNKNOWN, words=f"{name} has no null control")
    words = f"{name} {_words(leak.excess)} above its null control, for a ceiling of {ceiling:g}"
    return Verdict(wish="leakage", kept=_below(leak.excess, ceiling), words=words)


def _guarantee(candidate: Candidate, wishes: Wishes) -> Iterator[Verdict]:
    """ε of another unit, or at a larger δ, is not what was asked for, however small."""
    if candidate.guarantee is None or wishes.unit is None:
        return
    unit, largest = candidate.guarantee
    found = {name: (candidate.deltas.get(name, largest), asked) for name, asked in wishes.deltas.items()}
    client, (delta, asked) = max(found.items(), key=lambda one: one[1][0] / one[1][1])
    kept = Kept.KEPT if unit == wishes.unit and delta <= asked else Kept.BROKEN
    words = f"ε of {client} holds for one {unit} at δ = {delta:g}, asked for one {wishes.unit} at {asked:g}"
    yield Verdict(wish="guarantee", kept=kept, words=words)


def _budgets(candidate: Candidate, wishes: Wishes) -> Iterator[Verdict]:
    """Each client's own: what it spent, and what it would be allowed to.

    A client that the runs did not have is given the largest ε of those that they had.
    """
    if not wishes.epsilons and math.isinf(wishes.max_epsilon):
        return
    for client in wishes.epsilons or candidate.epsilons:
        spent, limit = candidate.epsilons.get(client, candidate.epsilon), wishes.epsilon_of(client)
        allowed = candidate.limits.get(client, max(candidate.limits.values()))
        kept = Kept.KEPT if max(spent, allowed) <= limit else Kept.BROKEN
        words = f"ε {spent:.2f} spent and {allowed:g} allowed, of at most {limit:g}"
        yield Verdict(wish="epsilon", client=client, kept=kept, words=words)


def _costs(candidate: Candidate, wishes: Wishes) -> Iterator[Verdict]:
    if math.isfinite(wishes.max_upload_bytes):
        yield _upload(candidate, "", wishes.max_upload_bytes)
    cost = _step_cost(candidate.config)
    if math.isfinite(wishes.max_memory_bytes):
        anyone = Device(kind="any", memory_bytes=wishes.max_memory_bytes, seconds_per_flop=0.0)
        yield _memory(_peak(cost, anyone), "", anyone.memory_bytes)
    dealt = {row.client: row for row in candidate.result.setup.allocation}
    for client, device in wishes.devices.items():
        if math.isfinite(device.upload_bytes):
            yield _upload(candidate, client, device.upload_bytes)
        row = dealt.get(client)
        peak = _peak(cost, device) if row is None else float(row.memory_bytes)
        yield _memory(peak, client, device.memory_bytes)
        if math.isfinite(wishes.round_seconds):
            seconds = _round_seconds(candidate, cost, device) if row is None else row.seconds
            yield _time(seconds, client, wishes.round_seconds)


def _upload(candidate: Candidate, client: str, limit: float) -> Verdict:
    kept = Kept.KEPT if candidate.upload_bytes <= limit else Kept.BROKEN
    words = f"{candidate.upload_bytes / KIB:.0f} KiB sent in a round, of at most {limit / KIB:.0f}"
    return Verdict(wish="upload", client=client, kept=kept, words=words)


def _memory(peak: float | None, client: str, limit: float) -> Verdict:
    if peak is None:
        return Verdict(wish="memory", client=client, kept=Kept.UNKNOWN, words=NO_MODEL)
    kept = Kept.KEPT if peak <= limit else Kept.BROKEN
    words = f"{peak / MIB:.0f} MiB by the cost model, of at most {limit / MIB:.0f}"
    return Verdict(wish="memory", client=client, kept=kept, words=words)


def _time(seconds: float | None, client: str, limit: float) -> Verdict:
    if seconds is None:
        return Verdict(wish="time", client=client, kept=Kept.UNKNOWN, words=NO_MODEL)
    kept = Kept.KEPT if seconds <= limit else Kept.BROKEN
    words = f"{seconds:.1f} s a round by the cost model, of at most {limit:g}"
    return Verdict(wish="time", client=client, kept=kept, words=words)


def _peak(cost: Cost | None, device: Device) -> float | None:
    return None if cost is None else device.peak_bytes(cost)


def _round_seconds(candidate: Candidate, cost: Cost | None, device: Device) -> float | None:
    """Local training of the mean client in a round."""
    if cost is None:
        return None
    training, setup = candidate.config.training, candidate.result.setup
    examples = training.local_steps * training.sample_rate * setup.train_examples / setup.clients
    return device.step_seconds(cost) * math.ceil(examples / training.physical_batch)


def _step_cost(config: Config) -> Cost | None:
    """Of one physical batch; None where the method or the model is not known to the cost model."""
    try:
        menu = menu_of(config)
        choice = Choice(
            method=menu.method, layers=menu.layers, targets=menu.targets, rank=config.peft.rank,
            trains_a=menu.trains_a, batch=config.training.physical_batch, length=menu.length, private=menu.private,
            adamw=menu.adamw,
        )  # fmt: skip
    except (FedPeftError, ValueError):
        return None
    return cost_of(menu.shape, choice)


def _above(value: Spread, floor: float) -> Kept:
    if value.mean < floor:
        return Kept.BROKEN
    return Kept.KEPT if value.low is not None and value.low >= floor else Kept.UNSURE


def _below(value: Spread, ceiling: float) -> Kept:
    if value.mean > ceiling:
        return Kept.BROKEN
    return Kept.KEPT if value.high is not None and value.high <= ceiling else Kept.UNSURE


def _words(value: Spread) -> str:
    if value.low is None or value.high is None:
        return f"{value.mean:.3f} (one seed, no interval)"
    return f"{value.mean:.3f} [{value.low:.3f}, {value.high:.3f}] (n = {value.n})"
