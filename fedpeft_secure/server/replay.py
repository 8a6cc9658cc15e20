"""Replays of one round with chosen texts and chosen defences: the only place where a defence is switched off.

Simulation only. A replay has its own keys, noise and throw-away ledger; nothing of the run changes, and whatever is
measured on one is marked `replay = true`.
"""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import dp
import secagg
from fedpeft_secure.adapters import AdapterState
from fedpeft_secure.aggregation import Received
from fedpeft_secure.budgets import ClientBudget
from fedpeft_secure.clients.client import Client
from fedpeft_secure.clients.memory import memory_file
from fedpeft_secure.clients.personal import PersonalValues
from fedpeft_secure.clients.policy import simulated_policy
from fedpeft_secure.clients.randomness import SeededRandomness
from fedpeft_secure.config import AggregationConfig, Config
from fedpeft_secure.data import LabelledTexts
from fedpeft_secure.engines.in_process import run_round
from fedpeft_secure.errors import RunFailedError
from fedpeft_secure.events import ignore
from fedpeft_secure.key_holder import SimulatedKeyHolder
from fedpeft_secure.plans import RoundPlan
from fedpeft_secure.seeds import Seed
from fedpeft_secure.server.federation import Federation
from fedpeft_secure.server.planning import plan_round

BEYOND_ANY_BUDGET = 1e9
"""The budget of a replayed private release: its noise is the run's own, its charge goes to a throw-away ledger."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ReplayedRound:
    """What an adversary may look at after a replay, and the public plan that it knows.

    Args:
        plan: the replayed round's plan.
        before: the adapter that was sent out.
        transcript: every message.
        aggregate: of the last sum.
        received: all that the server learned.
    """

    plan: RoundPlan
    before: AdapterState = field(repr=False)
    transcript: secagg.Transcript = field(repr=False)
    aggregate: secagg.Aggregate
    received: Received = field(repr=False)


def replay_round(
    federation: Federation,
    state: AdapterState,
    *,
    name: str,
    texts: Mapping[str, LabelledTexts],
    private: bool,
    protocol: str,
) -> ReplayedRound:
    """Plays one round in which every client of `texts` uses exactly its given texts, once.

    Args:
        federation: the run's parties; model, strategy and noise multipliers are kept.
        state: the adapter to start from, usually that of an attacked round.
        name: of the replay's random streams; another name is another draw.
        texts: {client: its batch}.
        private: whether clients clip each example and add the run's noise.
        protocol: "plain", or the secure sum of the run.

    Raises:
        RunFailedError: If the secure sum does.
    """
    largest = max(len(batch) for batch in texts.values())
    config = _replay_config(
        federation.config, clients=len(texts), protocol=protocol, nominal_batch=largest if private else 1
    )
    # Every text is in the batch, so that no client and no group of examples has a rate of its own.
    whole = [replace(budget, sample_rate=1.0, groups=()) for budget in federation.budgets]
    budgets = tuple(
        replace(budget, epsilon=BEYOND_ANY_BUDGET)
        if private
        else replace(budget, epsilon=float("inf"), noise_multiplier=0.0)
        for budget in whole
    )
    plan = plan_round(
        config,
        run=f"replay {name}",
        round_number=1,
        attempt=0,
        state=state,
        strategy=federation.strategy,
        budgets=budgets,
        allotments=federation.allotments,
    ).model_copy(update={"cohort": tuple(sorted(texts))})
    with tempfile.TemporaryDirectory() as folder, dp.Ledger.open(Path(folder) / "ledger.sqlite") as ledger:
        clients = {
            budget.client: _replay_client(
                federation,
                config,
                budget,
                agreed=plan,
                texts=texts[budget.client],
                name=name,
                ledger=ledger,
                folder=Path(folder),
            )
            for budget in budgets
            if budget.client in texts
        }
        outcome = run_round(
            plan,
            state,
            clients,
            strategy=federation.strategy,
            spec=federation.backbone.spec,
            directory=federation.keys.directory,
            key_holder=_replay_key_holder(federation, config),
            drop={},
            listen=ignore,
        )
    if outcome.aggregate is None or outcome.received is None:
        raise RunFailedError(f"the replay {name!r} failed: {outcome.failure} {'; '.join(outcome.refusals)}")
    return ReplayedRound(
        plan=plan,
        before=state,
        transcript=outcome.transcript,
        aggregate=outcome.aggregate,
        received=outcome.received,
    )


def _replay_config(config: Config, *, clients: int, protocol: str, nominal_batch: int) -> Config:
    """The run's configuration with every text in the batch."""
    training = config.training.model_copy(update={"sample_rate": 1.0, "nominal_batch": nominal_batch})
    sums = config.secure_sum.model_copy(
        update={"protocol": protocol, "min_cohort": min(config.secure_sum.min_cohort, clients), "clip": "auto"}
    )
    return config.model_copy(update={"training": training, "secure_sum": sums, "aggregation": one_sum(config)})


def one_sum(config: Config) -> AggregationConfig:
    """`[aggregation]` with one sum a round: what is replayed is one sum, of a cohort or of a group."""
    return config.aggregation.model_copy(update={"groups": 1, "robust": "off"})


def _replay_key_holder(federation: Federation, config: Config) -> SimulatedKeyHolder | None:
    """The same third party without its memory, which belongs to the run."""
    if federation.key_holder is None:
        return None
    return replace(federation.key_holder, min_cohort=config.secure_sum.min_cohort, memory=secagg.HolderMemory())


def _replay_client(
    federation: Federation,
    config: Config,
    budget: ClientBudget,
    *,
    agreed: RoundPlan,
    texts: LabelledTexts,
    name: str,
    ledger: dp.Ledger,
    folder: Path,
) -> Client:
    client = budget.client
    original = federation.clients[client]
    return replace(
        original,
        examples=federation.tokenise(texts),
        budget=budget,
        policy=replace(simulated_policy(config, client, agreed=agreed), max_epsilon=float("inf")),
        ledger=ledger,
        randomness=SeededRandomness(seed=Seed(Seed(config.seed).entropy("replay", name) % 2**63), client=client),
        memory_file=memory_file(folder / "ledger.sqlite", client),
        own=PersonalValues(folder=folder / client),
        elsewhere=None,  # other processes hold the run's own examples, and keep what its clients keep
        examples_processed=0,
        training_seconds=0.0,
    )
