"""Clients that leave a run for good, because their budget or their rounds have ended, while the others go on.

Everything here is decided from public facts: the configuration, who was in which cohort, and what was charged.
"""

from collections import Counter
from dataclasses import dataclass

from fedpeft_secure.affordability import affordable_rounds, charged_events
from fedpeft_secure.budgets import planned_rounds
from fedpeft_secure.config import Config
from fedpeft_secure.errors import ConfigError
from fedpeft_secure.plans import RoundPlan
from fedpeft_secure.protocols import too_few
from fedpeft_secure.result import Departure, RoundRecord
from fedpeft_secure.server.adaptive_clip import current_clip_norm
from fedpeft_secure.server.checkpoints import Progress
from fedpeft_secure.server.federation import Federation
from fedpeft_secure.server.planning import plan_round


@dataclass(frozen=True, kw_only=True, slots=True)
class NextRound:
    """What comes next.

    Args:
        plan: of the next round; None if too few clients are left for one.
        left: who has left before it.
        too_few: why there is no plan, or empty.
    """

    plan: RoundPlan | None
    left: tuple[Departure, ...]
    too_few: str = ""


def next_round(federation: Federation, progress: Progress, *, attempt: int) -> NextRound:
    """Plans the next round with clients that can afford it.

    Guarantee: nobody is chosen for more rounds than its noise was calibrated for; a client is asked only for releases
    that its ledger has room for, or that are in it already.

    Args:
        federation: all parties.
        progress: where the run stands.
        attempt: of the round.
    """
    config, number, accounts = federation.config, progress.rounds_done + 1, federation.accounts
    before = frozenset(departure.client for departure in progress.departures)
    left = list(_without_rounds(config, progress.records, before=before))
    while True:
        gone = before | {departure.client for departure in left}
        if reason := too_few(config, min(config.clients.per_round, config.clients.count - len(gone))):
            return NextRound(plan=None, left=tuple(left), too_few=reason)
        plan = plan_round(
            config,
            run=federation.run,
            round_number=number,
            attempt=attempt,
            state=progress.state,
            strategy=federation.strategy,
            budgets=federation.budgets,
            gone=gone,
            clip_norm=current_clip_norm(config, progress.records),
        )
        short = [(name, reason) for name in plan.cohort if (reason := accounts[name].shortage(plan))]
        if not short:
            return NextRound(plan=plan, left=tuple(left))
        left += [Departure(client=name, after_round=number - 1, reason=reason) for name, reason in short]


def check_affordable(federation: Federation) -> tuple[str, ...]:
    """Says who will leave, and when, because its ledger has no room for all of its rounds.

    Raises:
        ConfigError: If too few clients could take part in even one round; nothing was trained or charged.
    """
    config, accounts, notices, staying = federation.config, federation.accounts, [], 0
    refusals: list[str] = []
    for budget in federation.budgets:
        rounds = affordable_rounds(config, budget, charged_events(federation.ledger, budget.client))
        staying += rounds > 0
        if rounds == 0:
            refusals.append(accounts[budget.client].shortage(federation.agreed))
        if rounds < planned_rounds(config, budget.client):
            notices.append(f"{budget.client} will leave after {rounds} rounds: its ledger has no room for more")
    if too_few(config, min(staying, config.clients.per_round)):
        reason = next((refusal for refusal in refusals if refusal), f"{staying} clients can afford a round")
        raise ConfigError(
            f"privacy.epsilon: the ledger leaves no room for this run: {reason}; or raise privacy.epsilon"
        )
    return tuple(notices)


def _without_rounds(
    config: Config, records: tuple[RoundRecord, ...], *, before: frozenset[str]
) -> tuple[Departure, ...]:
    """Clients that were chosen as often as their `rounds` allow; a failed round counts, because it was charged."""
    taken = Counter(name for record in records for name in (*record.survivors, *record.dropped))
    return tuple(
        Departure(
            client=name, after_round=len(records), reason=f"it took part in the {taken[name]} rounds it agreed to"
        )
        for name in config.client_names
        if name not in before and 0 < planned_rounds(config, name) <= taken[name]
    )
