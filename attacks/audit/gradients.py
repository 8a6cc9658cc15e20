"""Plays the rounds of a client that holds nothing but gradient canaries, and reads what it sent.

The audited client is the run's own `Client`: policy, ledger, Poisson sampling, clipping, noise, encoding and message
are its code. The adversary is the one that its guarantee is against: it reads every message of this client.
"""

from dataclasses import dataclass, field, replace

import numpy as np
from scipy.special import logsumexp
from scipy.stats import binom

from attacks.audit.canaries import CanaryBackbone, plant
from attacks.audit.counting import CountingRandomness, Tally
from attacks.audit.verdict import Scored
from attacks.base import Floats
from attacks.errors import AttackError
from fedpeft_secure.aggregation.context import RoundContext
from fedpeft_secure.budgets import clip_norm_of, planned_rounds
from fedpeft_secure.clients.client import Client
from fedpeft_secure.clients.policy import simulated_policy
from fedpeft_secure.config import Config
from fedpeft_secure.engines.in_process import run_round
from fedpeft_secure.events import Listener, PhaseStarted, ignore
from fedpeft_secure.plans import RoundPlan
from fedpeft_secure.seeds import Seed
from fedpeft_secure.server.federation import Federation
from fedpeft_secure.server.planning import plan_round
from fedpeft_secure.server.replay import one_sum

FEWEST_UNUSED = 100
"""Coordinates without a canary that are enough to measure the noise on; with fewer, the announced noise is used."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PlayedRounds:
    """What the adversary read, and what the client did.

    Args:
        planted: the canaries in the model.
        plan: of the first round, as the client followed it.
        sent: every message, decoded: shape (rounds, dim).
        tally: what the client really drew.
    """

    planted: CanaryBackbone = field(repr=False)
    plan: RoundPlan
    sent: Floats = field(repr=False)
    tally: Tally

    @property
    def scored(self) -> Scored:
        """One log-likelihood ratio a canary."""
        canaries = self.planted.canaries
        values = -self.sent[:, canaries.coordinates]
        scores = np.zeros(len(canaries))
        for row, whole in zip(values, self.sent, strict=True):
            scores += likelihood_ratios(row, noise=self._noise(whole), plan=self.plan)
        return Scored(scores=scores, included=canaries.included)

    def _noise(self, sent: Floats) -> float:
        """Measured where no canary is, so that a wrong noise is seen for what it is; else as announced."""
        silent = sent[self.planted.canaries.silent]
        if silent.size >= FEWEST_UNUSED:
            return float(max(silent.std(), 1e-12))
        step = self.plan.learning_rate * self.plan.noise_multiplier * self.plan.clip_norm / self.plan.nominal_batch
        return float(step * np.sqrt(self.plan.local_steps))


def likelihood_ratios(values: Floats, *, noise: float, plan: RoundPlan) -> Floats:
    """log Pr[value | in] − log Pr[value | out] for one message after steps of SGD.

    An included canary enters each step with the sampling rate, and moves its coordinate by a fixed amount when it does.
    Does not cover: a client's AdamW, whose steps are no sums; the scores then lose power, never validity.

    Args:
        values: at the canaries' coordinates, shape (m,), towards the gradient.
        noise: standard deviation of the noise on a coordinate.
        plan: as the client follows it.
    """
    signal = plan.learning_rate * plan.clip_norm / plan.nominal_batch / noise
    standard = np.clip(values / noise, -1e4, 1e4)
    rate = max((group.sample_rate for group in plan.groups), default=plan.sample_rate)
    times = np.arange(plan.local_steps + 1)
    terms = np.outer(standard, times * signal) - (times * signal) ** 2 / 2 + binom.logpmf(times, plan.local_steps, rate)
    return np.asarray(logsumexp(terms, axis=1))


def play_gradient_canaries(
    federation: Federation, *, client: str, count: int, listen: Listener = ignore
) -> PlayedRounds:
    """Lets `client` take part in all its rounds with canaries for examples.

    Every round starts from the run's first adapter: canaries do not depend on the model.

    Args:
        federation: all parties; its ledger is charged.
        client: the audited one.
        count: m, canaries on both sides.
        listen: told about progress.

    Raises:
        AttackError: If clients do not send all that they train, or the client or the sum refused a round.
    """
    config = _plain(federation.config)
    original = federation.clients[client]
    agreed = _plan(federation, config, client, number=1)
    if federation.sends_parts or not _sends_what_it_trains(federation, agreed, client):
        raise AttackError(
            f"aggregation.strategy: {federation.strategy.name!r} does not send the whole changes of all that clients "
            'train, where canaries could be found; audit with "fedit", "fedsvd" or "ffa", whose clients are noised the '
            "same"
        )
    planted = plant(
        original.backbone,
        federation.trained,
        allotment=agreed.allotment(client),
        count=count,
        clip_norm=clip_norm_of(config, original.budget),
        rng=Seed(config.seed).child("audit", "canaries", client),
    )
    watched = CountingRandomness(inner=original.randomness)
    audited = replace(
        original,
        examples=planted.canaries.examples(group=_group(agreed.for_client(client))),
        backbone=planted,
        policy=simulated_policy(config, client, agreed=agreed),
        randomness=watched,
    )
    rounds = planned_rounds(config, client)
    sent = []
    for number in range(1, rounds + 1):
        listen(PhaseStarted(name="audit", round=number))
        sent.append(_play(federation, _plan(federation, config, client, number=number), audited))
    return PlayedRounds(planted=planted, plan=agreed.for_client(client), sent=np.stack(sent), tally=watched.tally)


def _sends_what_it_trains(federation: Federation, plan: RoundPlan, client: str) -> bool:
    """Whether a round trains, and sends, the client's part of every tensor that is ever sent, and nothing else."""
    context = RoundContext(plan=plan, spec=federation.backbone.spec, state=federation.start)
    trained = federation.strategy.start(context, client).trained
    return trained.names == plan.allotment(client).part_of(federation.trained).names


def _play(federation: Federation, plan: RoundPlan, audited: Client) -> Floats:
    outcome = run_round(
        plan,
        federation.start,
        {audited.name: audited},
        strategy=federation.strategy,
        spec=federation.backbone.spec,
        directory=federation.keys.directory,
        drop={},
        listen=ignore,
    )
    if outcome.aggregate is None:
        reason = "; ".join(outcome.refusals) or outcome.failure
        raise AttackError(f"the audited client took no part in round {plan.round}: {reason}")
    return outcome.aggregate.mean


def _plain(config: Config) -> Config:
    """The run's configuration with one client's message readable by the server."""
    sums = config.secure_sum.model_copy(update={"protocol": "plain", "min_cohort": 1})
    return config.model_copy(update={"secure_sum": sums, "aggregation": one_sum(config)})


def _plan(federation: Federation, config: Config, client: str, *, number: int) -> RoundPlan:
    return plan_round(
        config,
        run=federation.run,
        round_number=number,
        attempt=0,
        state=federation.start,
        strategy=federation.strategy,
        budgets=federation.budgets,
        allotments=federation.allotments,
    ).model_copy(update={"cohort": (client,)})


def _group(plan: RoundPlan) -> int | None:
    """The group of budgets with the highest rate, where there are groups: the worst one is audited."""
    if not plan.groups:
        return None
    return int(np.argmax([group.sample_rate for group in plan.groups]))
