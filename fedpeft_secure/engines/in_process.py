"""The in-process engine: the same sessions and encoded messages as over a network, delivered by a function call."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

import dp
import secagg
from fedpeft_secure.adapters import AdapterSpec, AdapterState
from fedpeft_secure.aggregation.base import Reads
from fedpeft_secure.aggregation.context import RoundContext
from fedpeft_secure.aggregation.round_strategy import Received, RoundStrategy
from fedpeft_secure.clients.client import Client
from fedpeft_secure.errors import PolicyError
from fedpeft_secure.events import ClientTrained, Listener, PhaseStarted
from fedpeft_secure.key_holder import SimulatedKeyHolder
from fedpeft_secure.plans import RoundPlan, pack_means, pack_next, pack_request
from fedpeft_secure.secure_sums import secure_sum, sum_plan

TRAIN, CONTINUE = "train", "continue"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class RoundOutcome:
    """How a round went.

    Args:
        aggregate: of the last sum; None if one failed.
        received: all that the server learned; None if a sum failed.
        failure: why it failed, or empty.
        refusals: why clients did not take part, a line each.
        transcript: every message that was delivered.
        seconds: by phase.
    """

    aggregate: secagg.Aggregate | None
    received: Received | None = field(repr=False)
    failure: str
    refusals: tuple[str, ...]
    transcript: secagg.Transcript = field(repr=False)
    seconds: dict[str, float]


def run_round(
    plan: RoundPlan,
    state: AdapterState,
    clients: Mapping[str, Client],
    *,
    strategy: RoundStrategy,
    spec: AdapterSpec,
    directory: secagg.KeyDirectory,
    key_holder: SimulatedKeyHolder | None = None,
    drop: Mapping[str, frozenset[str]],
    listen: Listener,
) -> RoundOutcome:
    """Plays one round: request, local training, and as many secure sums as the strategy reads.

    Args:
        plan: the round's.
        state: the adapter that every client receives.
        clients: by name; those of the cohort take part.
        strategy: how updates are encoded.
        spec: the structure of the adapter.
        directory: the pinned keys.
        key_holder: the third party, where the protocol has one.
        drop: {phase of the secure sum: clients that vanish before it}, in simulation.
        listen: told about progress.
    """
    started = time.perf_counter()
    context = RoundContext(plan=plan, spec=spec, state=state)
    parties = Parties(clients=clients, recorder=secagg.Recorder(drop=drop), directory=directory, key_holder=key_holder)
    sessions, refusals = _first_sessions(plan, state, parties, listen)
    trained = time.perf_counter()
    listen(PhaseStarted(name="secure sum", round=plan.round))
    received, aggregate, failure = _all_sums(context, strategy, sessions, refusals, parties)
    seconds = {"training": trained - started, "secure_sum": time.perf_counter() - trained}
    return RoundOutcome(
        aggregate=aggregate,
        received=received,
        failure=failure,
        refusals=tuple(refusals),
        transcript=parties.recorder.transcript,
        seconds=seconds,
    )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Parties:
    """Who takes part in a round, and what carries their messages."""

    clients: Mapping[str, Client] = field(repr=False)
    recorder: secagg.Recorder
    directory: secagg.KeyDirectory = field(repr=False)
    key_holder: SimulatedKeyHolder | None = field(repr=False)

    def ask(self, phase: str, names: tuple[str, ...], payload: bytes) -> tuple[secagg.Envelope, ...]:
        """Sends the same request to all of `names`; what arrives."""
        return self.recorder(
            tuple(secagg.Envelope(sender=secagg.SERVER, recipient=name, phase=phase, payload=payload) for name in names)
        )

    def remember(self, name: str, memory: secagg.ClientMemory) -> None:
        """Stores a client's memory."""
        self.clients[name].remember(memory)


def _first_sessions(
    plan: RoundPlan, state: AdapterState, parties: Parties, listen: Listener
) -> tuple[dict[str, secagg.ClientSession], list[str]]:
    """Everybody trains; who refuses is left out, with its reason."""
    sessions: dict[str, secagg.ClientSession] = {}
    refusals: list[str] = []
    for position, envelope in enumerate(parties.ask(TRAIN, plan.cohort, pack_request(plan, state)), start=1):
        name = envelope.recipient
        try:
            sessions[name] = parties.clients[name].open_session(envelope.payload)
        except (PolicyError, dp.BudgetExceeded, secagg.ProtocolError) as error:
            refusals.append(f"{name}: {error}")
            continue
        listen(ClientTrained(round=plan.round, client=name, position=position, cohort=len(plan.cohort)))
    return sessions, refusals


def _all_sums(
    context: RoundContext,
    strategy: RoundStrategy,
    sessions: dict[str, secagg.ClientSession],
    refusals: list[str],
    parties: Parties,
) -> tuple[Received | None, secagg.Aggregate | None, str]:
    """Every sum of the round over the same clients: who is missing from a later one fails the attempt."""
    plan, means, aggregate = context.plan, tuple[np.ndarray, ...](), None
    sums: secagg.SumPlan | None = None
    for phase in range(plan.sums):
        if aggregate is not None:
            plan = plan.model_copy(update={"phase": phase, "cohort": aggregate.survivors})
            sessions = _next_sessions(plan, means, refusals, parties)
            if missing := sorted(set(plan.cohort) - set(sessions)):
                return None, None, f"{missing[0]} vanished between the sums of {strategy.name}; try again without it"
        layout = strategy.layout(context, means)
        earlier = pack_means(means) if means else b""
        try:
            sums = sum_plan(plan, dim=layout.size, directory=parties.directory, covered=layout.covered, earlier=earlier)
            aggregate = _add_up(plan, sums, sessions, parties)
        except (secagg.RoundFailedError, secagg.RefusedError, PolicyError) as error:
            return None, None, str(error)
        if phase and aggregate.survivors != plan.cohort:
            gone = sorted(set(plan.cohort) - set(aggregate.survivors))
            return None, None, f"{gone[0]} vanished between the sums of {strategy.name}; try again without it"
        means = (*means, aggregate.mean)
    if aggregate is None or sums is None:
        return None, None, "the strategy reads nothing"
    individual = _each(sums, aggregate, parties) if strategy.reads is Reads.INDIVIDUAL else {}
    return Received(means=means, survivors=aggregate.survivors, individual=individual), aggregate, ""


def _next_sessions(
    plan: RoundPlan, means: tuple[np.ndarray, ...], refusals: list[str], parties: Parties
) -> dict[str, secagg.ClientSession]:
    sessions: dict[str, secagg.ClientSession] = {}
    for envelope in parties.ask(CONTINUE, plan.cohort, pack_next(plan, means)):
        try:
            sessions[envelope.recipient] = parties.clients[envelope.recipient].open_next_session(envelope.payload)
        except (PolicyError, secagg.ProtocolError) as error:
            refusals.append(f"{envelope.recipient}: {error}")
    return sessions


def _add_up(
    plan: RoundPlan, sums: secagg.SumPlan, sessions: Mapping[str, secagg.ClientSession], parties: Parties
) -> secagg.Aggregate:
    server = secure_sum(plan).server(sums, directory=parties.directory)
    holder = parties.key_holder
    third = None if holder is None else holder.session(plan, sums)
    keep = None if holder is None else holder.keep
    return secagg.drive(server, sessions, parties.recorder, remember=parties.remember, key_holder=third, keep=keep)


def _each(sums: secagg.SumPlan, aggregate: secagg.Aggregate, parties: Parties) -> dict[str, tuple[np.ndarray, float]]:
    """What every survivor sent in clear, and its weight."""
    found = {}
    for name in aggregate.survivors:
        vector = secagg.plain.read_contribution(parties.recorder.transcript, sums, name)
        found[name] = (vector, float(secagg.plain.read_weight(parties.recorder.transcript, sums, name)))
    return found
