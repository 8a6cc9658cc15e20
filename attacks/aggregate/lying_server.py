"""A server that lies about the model: what its clients let it have.

The server wants one client's update out of a sum. It shows the target the real adapter, and everybody else one at which
their gradients vanish, so that the sum is the target's alone (Pasquini et al. 2022, *Eluding Secure Aggregation in
Federated Learning via Model Inconsistency*). Or it shows all of them one crafted adapter, which nobody can notice.
"""

from dataclasses import dataclass
from enum import Enum

import secagg
from fedpeft_secure.adapters import AdapterState
from fedpeft_secure.errors import PolicyError
from fedpeft_secure.plans import RoundPlan, pack_request
from fedpeft_secure.secure_sums import secure_sum, sum_plan
from fedpeft_secure.server.federation import Federation


class LyingServer(Enum):
    """What the server does."""

    HONEST = "sends one model to all"
    HIDDEN = "sends the target another model than the plan names"
    TWO_PLANS = "sends the target another model, and a plan that names it"
    ONE_FOR_ALL = "sends one crafted model to all"


@dataclass(frozen=True, kw_only=True, slots=True)
class LieOutcome:
    """What came of it.

    Args:
        aggregate: what the server got, or None.
        refusals: why clients stopped, a line each; empty if nobody noticed.
    """

    aggregate: secagg.Aggregate | None
    refusals: tuple[str, ...]


def play_lying_server(
    federation: Federation,
    plan: RoundPlan,
    lie: LyingServer,
    *,
    target: str,
    honest: AdapterState,
    crafted: AdapterState,
) -> LieOutcome:
    """Plays one round with the run's own clients and secure sum, and a server that lies.

    Args:
        federation: all parties; their ledgers are charged, as they would be.
        plan: of the round, naming the `honest` adapter.
        lie: what the server does.
        target: whose update it wants.
        honest: the adapter that the target should work on.
        crafted: the one that it shows the others, or all.
    """
    shown = plan.model_copy(update={"model_hash": crafted.digest().hex()})
    requests = {}
    for name in plan.cohort:
        others = lie is LyingServer.ONE_FOR_ALL or (lie is not LyingServer.HONEST and name != target)
        named = shown if others and lie is not LyingServer.HIDDEN else plan
        requests[name] = pack_request(named, crafted if others else honest)
    sessions: dict[str, secagg.ClientSession] = {}
    refusals = []
    for name, payload in requests.items():
        try:
            sessions[name] = federation.clients[name].open_session(payload)
        except (PolicyError, secagg.ProtocolError) as error:
            refusals.append(f"{name}: {error}")
    led = shown if lie in (LyingServer.ONE_FOR_ALL, LyingServer.TWO_PLANS) else plan
    sums = sum_plan(led, dim=federation.trained.size, directory=federation.keys.directory)
    server = secure_sum(led).server(sums, directory=federation.keys.directory)
    try:
        return LieOutcome(aggregate=secagg.drive(server, sessions, secagg.Recorder()), refusals=tuple(refusals))
    except secagg.ProtocolError as error:
        return LieOutcome(aggregate=None, refusals=(*refusals, str(error)))


def without_gradients(state: AdapterState) -> AdapterState:
    """An adapter at which nothing but the head has a gradient: all factors zero."""
    zeros = {name: value * 0 for name, value in state.values.items() if "lora" in name}
    return state.replace(zeros)
