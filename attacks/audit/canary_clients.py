"""Canary clients: whole clients whose update is one chosen direction, through the run's own secure sum.

Each trial is one round of the full cohort, and one release of each client. Every client is in or out by its own coin:
in with an update as long as the clip norm allows, out with none.
Source: Andrew et al. 2023, *One-shot Empirical Privacy Estimation for Federated Learning*.
"""

import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

import dp
from attacks.audit.canaries import OVERSIZE, Canaries, CanaryBackbone, plant
from attacks.audit.verdict import Scored
from attacks.base import Floats
from attacks.errors import AttackError
from dp.charges import Charge
from fedpeft_secure.client_noise import ClientNoise, read_sum
from fedpeft_secure.clients.client import Client
from fedpeft_secure.clients.memory import memory_file
from fedpeft_secure.clients.policy import simulated_policy
from fedpeft_secure.config import Config
from fedpeft_secure.engines.in_process import run_round
from fedpeft_secure.errors import ConfigError
from fedpeft_secure.events import Listener, PhaseStarted, ignore
from fedpeft_secure.plans import RoundPlan
from fedpeft_secure.seeds import Seed
from fedpeft_secure.server.federation import Federation
from fedpeft_secure.server.planning import plan_round

LEAST_NOISE = 1e-12
"""In clip norms: a sum without any noise is to be found out, not to be divided by."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PlayedTrials:
    """What the server read at the canaries' coordinates, and what the clients did.

    Args:
        values: the released sum at each canary's coordinate, in clip norms, shape (m,); 1 is a whole canary.
        noise: standard deviation of coordinates without a canary, in the same unit.
        included: the coins, shape (m,), bool.
        charges: of one client in one trial: what it was charged for its one release.
        spent: ε of these.
        sent: updates that all clients sent in all trials.
        charged: steps that the ledgers of all trials hold.
    """

    values: Floats = field(repr=False)
    noise: float
    included: np.ndarray = field(repr=False)
    charges: tuple[Charge, ...]
    spent: dp.PrivacySpent
    sent: int
    charged: int

    @property
    def scored(self) -> Scored:
        """One log-likelihood ratio a canary: N(1, noise²) against N(0, noise²)."""
        return Scored(scores=(self.values - 0.5) / self.noise**2, included=self.included)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Trial:
    """One round's outcome."""

    values: Floats = field(repr=False)
    silent: Floats = field(repr=False)
    charges: tuple[Charge, ...]
    spent: dp.PrivacySpent
    sent: int
    charged: int


def play_canary_clients(federation: Federation, *, count: int, listen: Listener = ignore) -> PlayedTrials:
    """Plays as many rounds as `count` canaries take, a canary a client and round.

    Args:
        federation: of a run with `privacy.unit = "client"`; its own ledger is not touched.
        count: m, canaries on both sides; rounded up to whole rounds.
        listen: told about progress.

    Raises:
        ConfigError: If the run does not protect whole clients.
        AttackError: If a round failed.
    """
    noise = federation.budgets[0].client_noise
    if noise is None:
        raise ConfigError('privacy.unit: canary clients test noise on whole clients; set privacy.unit = "client"')
    training = federation.config.training.model_copy(update={"sample_rate": 1.0})
    config = federation.config.model_copy(update={"training": training})
    names = federation.agreed.cohort
    rng = Seed(config.seed).child("audit", "canary clients")
    planted = plant(
        federation.backbone,
        federation.trained,
        allotment=federation.agreed.allotment(names[0]),
        count=len(names),
        clip_norm=config.privacy.clip_norm,
        rng=rng,
    )
    trials, coins = [], []
    for trial in range(1, -(-count // len(names)) + 1):
        listen(PhaseStarted(name="audit", round=trial))
        canaries = Canaries(
            coordinates=rng.permutation(planted.canaries.coordinates),
            included=rng.random(len(names)) < 0.5,
            silent=planted.canaries.silent,
            gradient_norm=OVERSIZE * config.privacy.clip_norm / config.training.learning_rate,
        )
        trials.append(_play(federation, config, noise, replace(planted, canaries=canaries), number=trial))
        coins.append(canaries.included)
    return PlayedTrials(
        values=np.concatenate([trial.values for trial in trials]),
        noise=max(float(np.sqrt(np.mean([np.mean(np.square(trial.silent)) for trial in trials]))), LEAST_NOISE),
        included=np.concatenate(coins),
        charges=trials[0].charges,
        spent=max((trial.spent for trial in trials), key=lambda spent: spent.epsilon),
        sent=sum(trial.sent for trial in trials),
        charged=sum(trial.charged for trial in trials),
    )


def _play(
    federation: Federation, config: Config, noise: ClientNoise, planted: CanaryBackbone, *, number: int
) -> _Trial:
    plan = plan_round(
        config,
        run=federation.run,
        round_number=number,
        attempt=0,
        state=federation.start,
        strategy=federation.strategy,
        budgets=federation.budgets,
    ).model_copy(update={"cohort": federation.agreed.cohort})
    with tempfile.TemporaryDirectory() as folder, dp.Ledger.open(Path(folder) / "ledger.sqlite") as ledger:
        clients = {
            name: _canary_client(federation.clients[name], planted, index, config, plan, ledger, Path(folder))
            for index, name in enumerate(plan.cohort)
        }
        outcome = run_round(
            plan,
            federation.start,
            clients,
            strategy=federation.strategy,
            spec=federation.backbone.spec,
            directory=federation.keys.directory,
            key_holder=federation.key_holder,
            drop={},
            listen=ignore,
        )
        if outcome.aggregate is None:
            raise AttackError(f"round {number} of the audit failed: {'; '.join(outcome.refusals) or outcome.failure}")
        first = clients[plan.cohort[0]]
        spent = ledger.spent(
            first.name,
            delta=first.budget.delta,
            accountant=config.privacy.accountant,
            relation=config.privacy.relation,
        )
        charges = ledger.history(first.name)
        charged = sum(charge.event.steps for name in plan.cohort for charge in ledger.history(name))
    released = read_sum(noise, plan, outcome.aggregate, server_noise=lambda: federation.server_noise(plan))
    in_norms = -released.mean * len(outcome.aggregate.survivors) / plan.clip_norm
    return _Trial(
        values=in_norms[planted.canaries.coordinates],
        silent=in_norms[planted.canaries.silent],
        charges=charges,
        spent=spent,
        sent=len(outcome.aggregate.survivors),
        charged=charged,
    )


def _canary_client(  # noqa: PLR0917 - one caller
    original: Client,
    planted: CanaryBackbone,
    index: int,
    config: Config,
    plan: RoundPlan,
    ledger: dp.Ledger,
    folder: Path,
) -> Client:
    """`original` with its canary for its only example, or with none."""
    canaries = planted.canaries
    mine = np.zeros(len(canaries), dtype=bool)
    mine[index] = canaries.included[index]
    return replace(
        original,
        examples=replace(canaries, included=mine).examples(),
        backbone=planted,
        policy=simulated_policy(config, original.name, agreed=plan),
        ledger=ledger,
        memory_file=memory_file(folder / "ledger.sqlite", original.name),
    )
