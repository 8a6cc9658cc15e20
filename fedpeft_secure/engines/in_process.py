"""The in-process engine: the same sessions and encoded messages as over a network, delivered by a function call."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import dp
import secagg
from fedpeft_secure.adapters import AdapterState
from fedpeft_secure.clients.client import Client
from fedpeft_secure.errors import PolicyError
from fedpeft_secure.events import ClientTrained, Listener, PhaseStarted
from fedpeft_secure.key_holder import SimulatedKeyHolder
from fedpeft_secure.plans import RoundPlan, pack_request
from fedpeft_secure.secure_sums import secure_sum, sum_plan

TRAIN = "train"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class RoundOutcome:
    """How a round went.

    Args:
        aggregate: all that the server learned; None if the secure sum failed.
        failure: why it failed, or empty.
        refusals: why clients did not take part, a line each.
        transcript: every message that was delivered.
        seconds: by phase.
    """

    aggregate: secagg.Aggregate | None
    failure: str
    refusals: tuple[str, ...]
    transcript: secagg.Transcript = field(repr=False)
    seconds: dict[str, float]


def run_round(
    plan: RoundPlan,
    state: AdapterState,
    clients: Mapping[str, Client],
    *,
    dim: int,
    directory: secagg.KeyDirectory,
    key_holder: SimulatedKeyHolder | None = None,
    drop: Mapping[str, frozenset[str]],
    listen: Listener,
) -> RoundOutcome:
    """Plays one round: request, local training, secure sum.

    Args:
        plan: the round's.
        state: the adapter that every client receives.
        clients: by name; those of the cohort take part.
        dim: length of an encoded update.
        directory: the pinned keys.
        key_holder: the third party, where the protocol has one.
        drop: {phase of the secure sum: clients that vanish before it}, in simulation.
        listen: told about progress.
    """
    started = time.perf_counter()
    recorder = secagg.Recorder(drop=drop)
    requests = tuple(
        secagg.Envelope(sender=secagg.SERVER, recipient=name, phase=TRAIN, payload=pack_request(plan, state))
        for name in plan.cohort
    )
    sessions: dict[str, secagg.ClientSession] = {}
    refusals: list[str] = []
    for position, envelope in enumerate(recorder(requests), start=1):
        name = envelope.recipient
        try:
            sessions[name] = clients[name].open_session(envelope.payload)
        except (PolicyError, dp.BudgetExceeded, secagg.ProtocolError) as error:
            refusals.append(f"{name}: {error}")
            continue
        listen(ClientTrained(round=plan.round, client=name, position=position, cohort=len(plan.cohort)))
    trained = time.perf_counter()
    listen(PhaseStarted(name="secure sum", round=plan.round))
    aggregate, failure = _add_up(plan, sessions, clients, recorder, dim=dim, directory=directory, key_holder=key_holder)
    seconds = {"training": trained - started, "secure_sum": time.perf_counter() - trained}
    return RoundOutcome(
        aggregate=aggregate,
        failure=failure,
        refusals=tuple(refusals),
        transcript=recorder.transcript,
        seconds=seconds,
    )


def _add_up(
    plan: RoundPlan,
    sessions: Mapping[str, secagg.ClientSession],
    clients: Mapping[str, Client],
    recorder: secagg.Recorder,
    *,
    dim: int,
    directory: secagg.KeyDirectory,
    key_holder: SimulatedKeyHolder | None,
) -> tuple[secagg.Aggregate | None, str]:
    def remember(name: str, memory: secagg.ClientMemory) -> None:
        clients[name].remember(memory)

    server = secure_sum(plan).server(sum_plan(plan, dim=dim, directory=directory), directory=directory)
    try:
        third = None if key_holder is None else key_holder.session(plan, dim=dim)
        keep = None if key_holder is None else key_holder.keep
        return secagg.drive(server, sessions, recorder, remember=remember, key_holder=third, keep=keep), ""
    except (secagg.RoundFailedError, secagg.RefusedError, PolicyError) as error:
        return None, str(error)
