"""One round, whatever carries its messages: request, local training, and as many secure sums as the strategy reads."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

import secagg
from fedpeft_secure.adapters import AdapterSpec, AdapterState
from fedpeft_secure.aggregation.base import Reads
from fedpeft_secure.aggregation.context import RoundContext
from fedpeft_secure.aggregation.robust import fewest_groups, robust_mean
from fedpeft_secure.aggregation.round_strategy import Received, RoundStrategy
from fedpeft_secure.errors import PolicyError
from fedpeft_secure.events import Listener, PhaseStarted
from fedpeft_secure.plans import RoundPlan, pack_means, pack_next, pack_request
from fedpeft_secure.secure_sums import sum_plan
from fedpeft_secure.sum_groups import plans_of_sums

TRAIN, CONTINUE = "train", "continue"


@dataclass(frozen=True, kw_only=True, slots=True)
class SummedGroup:
    """How the sum of one group of the cohort went.

    Args:
        members: who was in the group.
        survivors: whose updates are in its sum; nobody's, if that failed.
        failure: why it failed, or empty.
    """

    members: tuple[str, ...]
    survivors: tuple[str, ...]
    failure: str


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class RoundOutcome:
    """How a round went.

    Args:
        aggregate: of the last sum; None if one failed, and where groups have a sum each.
        received: what the server steps along; None if a sum failed, or those of too many groups.
        failure: why it failed, or empty.
        refusals: why clients did not take part, a line each.
        transcript: every message that was delivered.
        seconds: by phase.
        groups: where the cohort was split, how each group fared.
    """

    aggregate: secagg.Aggregate | None
    received: Received | None = field(repr=False)
    failure: str
    refusals: tuple[str, ...]
    transcript: secagg.Transcript = field(repr=False)
    seconds: dict[str, float]
    groups: tuple[SummedGroup, ...] = ()


class Wire(Protocol):
    """How the server reaches the parties of one round: the part of a round that engines differ in."""

    @property
    def transcript(self) -> secagg.Transcript:
        """Every message that was delivered so far."""
        ...

    @property
    def refusals(self) -> tuple[str, ...]:
        """Why clients did not take part, a line each."""
        ...

    def train(self, plan: RoundPlan, request: bytes) -> frozenset[str]:
        """Sends the cohort its request; who trained and opened a session of the secure sum."""
        ...

    def go_on(self, plan: RoundPlan, request: bytes) -> frozenset[str]:
        """Sends the request for the round's next sum; who opened a session of it."""
        ...

    def add_up(self, plan: RoundPlan, sums: secagg.SumPlan) -> secagg.Aggregate:
        """Plays the secure sum with those who opened a session.

        Raises:
            secagg.RoundFailedError: If too few are left.
            secagg.RefusedError, PolicyError: If the third party refuses.
        """
        ...


def play_round(
    plan: RoundPlan, state: AdapterState, wire: Wire, *, strategy: RoundStrategy, directory: secagg.KeyDirectory,
    spec: AdapterSpec, listen: Listener, start: AdapterState | None = None,
) -> RoundOutcome:  # fmt: skip
    """Plays one round.

    Args:
        plan: the round's.
        state: the adapter that every client receives.
        wire: reaches the clients, for this round only.
        strategy: how updates are encoded.
        directory: the pinned keys.
        spec: the structure of the adapter.
        listen: told about progress.
        start: the adapter before the first round, where clients are sent what changed since; else None.
    """
    started = time.perf_counter()
    context = RoundContext(plan=plan, spec=spec, state=state)
    wire.train(plan, pack_request(plan, state, start=start))
    trained = time.perf_counter()
    listen(PhaseStarted(name="secure sum", round=plan.round))
    plans, groups = plans_of_sums(plan, directory), tuple[SummedGroup, ...]()
    if len(plans) == 1:
        received, aggregate, failure = _all_sums(context, strategy, wire, directory)
    else:
        (received, groups, failure), aggregate = _group_sums(context, plans, strategy, wire, directory), None
    seconds = {"training": trained - started, "secure_sum": time.perf_counter() - trained}
    return RoundOutcome(
        aggregate=aggregate,
        received=received,
        failure=failure,
        refusals=wire.refusals,
        transcript=wire.transcript,
        seconds=seconds,
        groups=groups,
    )


def _group_sums(
    context: RoundContext,
    plans: Sequence[RoundPlan],
    strategy: RoundStrategy,
    wire: Wire,
    directory: secagg.KeyDirectory,
) -> tuple[Received | None, tuple[SummedGroup, ...], str]:
    """One sum after the other, and the robust mean of those that there are: a group that fails is left out."""
    found, groups, plan = list[Received](), list[SummedGroup](), context.plan
    for of_group in plans:
        received, _, failure = _all_sums(replace(context, plan=of_group), strategy, wire, directory)
        survivors = () if received is None else received.survivors
        groups.append(SummedGroup(members=of_group.cohort, survivors=survivors, failure=failure))
        found += [] if received is None else [received]
    if len(found) < (needed := fewest_groups(len(plans))):
        why = next(group.failure for group in groups if group.failure)
        return None, tuple(groups), f"only {len(found)} of {len(plans)} groups have a sum, {needed} must: {why}"
    means = np.stack([received.means[0] for received in found])
    mean = robust_mean(means, rule=plan.robust, trimmed_share=plan.trimmed_share)
    survivors = tuple(sorted(name for received in found for name in received.survivors))
    return Received(means=(mean,), survivors=survivors), tuple(groups), ""


def _all_sums(
    context: RoundContext, strategy: RoundStrategy, wire: Wire, directory: secagg.KeyDirectory
) -> tuple[Received | None, secagg.Aggregate | None, str]:
    """Every sum of the round over the same clients: who is missing from a later one fails the attempt."""
    plan, means, aggregate = context.plan, tuple[np.ndarray, ...](), None
    sums: secagg.SumPlan | None = None
    for phase in range(plan.sums):
        if aggregate is not None:
            plan = plan.model_copy(update={"phase": phase, "cohort": aggregate.survivors})
            if missing := sorted(set(plan.cohort) - wire.go_on(plan, pack_next(plan, means))):
                return None, None, f"{missing[0]} vanished between the sums of {strategy.name}; try again without it"
        layout = strategy.layout(context, means)
        earlier = pack_means(means) if means else b""
        try:
            sums = sum_plan(plan, dim=layout.size, directory=directory, covered=layout.covered, earlier=earlier)
            aggregate = wire.add_up(plan, sums)
        except (secagg.RoundFailedError, secagg.RefusedError, PolicyError) as error:
            return None, None, str(error)
        if phase and aggregate.survivors != plan.cohort:
            gone = sorted(set(plan.cohort) - set(aggregate.survivors))
            return None, None, f"{gone[0]} vanished between the sums of {strategy.name}; try again without it"
        means = (*means, aggregate.mean)
    if aggregate is None or sums is None:
        return None, None, "the strategy reads nothing"
    individual = _each(sums, aggregate, wire.transcript) if strategy.reads is Reads.INDIVIDUAL else {}
    return Received(means=means, survivors=aggregate.survivors, individual=individual), aggregate, ""


def _each(
    sums: secagg.SumPlan, aggregate: secagg.Aggregate, transcript: secagg.Transcript
) -> dict[str, tuple[np.ndarray, float]]:
    """What every survivor sent in clear, and its weight."""
    found = {}
    for name in aggregate.survivors:
        vector = secagg.plain.read_contribution(transcript, sums, name)
        found[name] = (vector, float(secagg.plain.read_weight(transcript, sums, name)))
    return found
