"""Rounds of a federation in this process, without a loop around them."""

from fedpeft_secure.adapters import AdapterState
from fedpeft_secure.aggregation.context import RoundContext
from fedpeft_secure.engines.in_process import run_round
from fedpeft_secure.engines.rounds import RoundOutcome
from fedpeft_secure.events import ignore
from fedpeft_secure.server.federation import Federation
from fedpeft_secure.server.planning import plan_round


def play(federation: Federation, state: AdapterState, number: int = 1) -> tuple[RoundContext, RoundOutcome]:
    plan = plan_round(
        federation.config,
        run="run",
        round_number=number,
        attempt=0,
        state=state,
        strategy=federation.strategy,
        budgets=federation.budgets,
    )
    spec = federation.backbone.spec
    outcome = run_round(
        plan,
        state,
        federation.clients,
        strategy=federation.strategy,
        spec=spec,
        directory=federation.keys.directory,
        key_holder=federation.key_holder,
        drop={},
        listen=ignore,
    )
    return RoundContext(plan=plan, spec=spec, state=state), outcome


def rounds(federation: Federation, state: AdapterState, count: int) -> AdapterState:
    optimizer = federation.optimizer
    for number in range(1, count + 1):
        context, outcome = play(federation, state, number)
        assert outcome.received is not None, (outcome.failure, outcome.refusals)
        state, optimizer = federation.strategy.apply(outcome.received, context, optimizer)
    return state
