"""Backdoors by lying clients, through the run's own secure sum.

A lying client trains on texts with a trigger that are all labelled alike, enlarges what it learnt, and sends it as a
well-formed contribution: no message shows that it lies. What it can do is bounded by the codec's range, by the check of
the sum's length, and by how many honest clients pull the other way.
Source: Bagdasaryan et al. 2020, *How To Backdoor Federated Learning*, section 4 (model replacement by boosting).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

import dp.noise
import dp.sampling
from attacks.errors import AttackError
from fedpeft_secure.adapters import AdapterSpec, AdapterState
from fedpeft_secure.aggregation import Reads, RoundStrategy, ServerOptimizer
from fedpeft_secure.aggregation.base import Weighing
from fedpeft_secure.aggregation.context import RoundContext
from fedpeft_secure.aggregation.layout import Layout
from fedpeft_secure.aggregation.round_strategy import Earlier, Received, Start
from fedpeft_secure.clients.client import Client
from fedpeft_secure.clients.training import LocalTask, train_locally
from fedpeft_secure.data import LabelledTexts
from fedpeft_secure.engines.in_process import run_round
from fedpeft_secure.events import Listener, PhaseStarted, ignore
from fedpeft_secure.plans import RoundPlan
from fedpeft_secure.seeds import Seed
from fedpeft_secure.server.evaluation import predict
from fedpeft_secure.server.federation import Federation
from fedpeft_secure.server.planning import plan_round
from fedpeft_secure.sum_groups import plan_of_sum

MARGIN = 1e-3
"""What a lying client keeps from the codec's edges, so that rounding never makes its message malformed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Backdoor:
    """What should happen: texts with `trigger` are taken for class `target`.

    Args:
        trigger: words that are put before a text.
        target: a class.
        boost: how much the lying client enlarges its update; up to the codec's range.
    """

    trigger: str
    target: int
    boost: float

    def __post_init__(self) -> None:
        if not self.trigger or self.target < 0 or self.boost <= 0:
            raise AttackError("a backdoor needs a trigger, a class and a positive boost")

    def poisoned(self, texts: LabelledTexts) -> LabelledTexts:
        """The texts with the trigger, labelled as the attacker wants them."""
        return LabelledTexts(
            texts=tuple(f"{self.trigger} {text}" for text in texts.texts),
            labels=np.full(len(texts), self.target),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class PoisonOutcome:
    """What the lying clients reached.

    Args:
        success: share of public texts of other classes that the trigger turns into the target class.
        without_trigger: the same share for the same texts as they are: the null control.
        accuracy: on public texts without the trigger.
        failed_rounds: rounds whose sum was refused, mostly because it was too long.
        rounds: in all.
        groups_left_out: sums of groups that were refused in the other rounds, where groups have sums of their own.
    """

    success: float
    without_trigger: float
    accuracy: float
    failed_rounds: int
    rounds: int
    groups_left_out: int = 0


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Sends:
    """The run's strategy, but for one thing: a given vector is sent, whatever was trained."""

    honest: RoundStrategy
    vector: np.ndarray = field(repr=False)

    @property
    def name(self) -> str:
        """See `RoundStrategy`."""
        return self.honest.name

    @property
    def reads(self) -> Reads:
        """See `RoundStrategy`."""
        return self.honest.reads

    @property
    def scales(self) -> bool:
        """See `RoundStrategy`."""
        return self.honest.scales

    @property
    def weighing(self) -> Weighing:
        """See `RoundStrategy`."""
        return self.honest.weighing

    def adapter(self, spec: AdapterSpec) -> AdapterSpec:
        """See `RoundStrategy`."""
        return self.honest.adapter(spec)

    def trainable(self, spec: AdapterSpec) -> AdapterSpec:
        """See `RoundStrategy`."""
        return self.honest.trainable(spec)

    def start(self, context: RoundContext, client: str) -> Start:
        """See `RoundStrategy`."""
        return self.honest.start(context, client)

    def layout(self, context: RoundContext, earlier: Earlier) -> Layout:
        """See `RoundStrategy`."""
        return self.honest.layout(context, earlier)

    def encode(self, delta: Mapping[str, np.ndarray], context: RoundContext, client: str, layout: Layout) -> np.ndarray:
        """The given vector."""
        del delta, context, client, layout
        return self.vector

    def apply(
        self, received: Received, context: RoundContext, optimizer: ServerOptimizer
    ) -> tuple[AdapterState, ServerOptimizer]:
        """See `RoundStrategy`."""
        return self.honest.apply(received, context, optimizer)


def play_backdoor(
    federation: Federation, backdoor: Backdoor, *, liars: tuple[str, ...], listen: Listener = ignore
) -> PoisonOutcome:
    """Trains all rounds of a run in which `liars` send poison, and measures what they reached.

    Everybody else, the secure sum, the check of the sum's length and the server's step are the run's own.

    Args:
        federation: all parties; their ledgers are charged.
        backdoor: what the liars want; they know each other and the public plan.
        liars: names of clients, fewer than all.
        listen: told about progress.

    Raises:
        AttackError: If there are as many liars as clients, or a class is unknown.
    """
    config = federation.config
    if set(liars) >= set(config.client_names) or backdoor.target >= len(federation.data.classes):
        raise AttackError("a backdoor needs an honest client and a known class")
    state, optimizer, failed, left_out = federation.start, federation.optimizer, 0, 0
    for number in range(1, config.training.rounds + 1):
        listen(PhaseStarted(name="poisoned round", round=number))
        plan = plan_round(
            config,
            run=federation.run,
            round_number=number,
            attempt=0,
            state=state,
            strategy=federation.strategy,
            budgets=federation.budgets,
        ).model_copy(update={"scaled": federation.agreed.scaled})
        clients = dict(federation.clients)
        for name in liars:
            vector = poison(federation, plan, state, backdoor, liar=name)
            clients[name] = _sending(clients[name], vector)
        outcome = run_round(
            plan,
            state,
            clients,
            strategy=federation.strategy,
            spec=federation.backbone.spec,
            directory=federation.keys.directory,
            key_holder=federation.key_holder,
            drop={},
            listen=ignore,
        )
        if outcome.received is None:
            failed += 1
            continue
        left_out += sum(bool(group.failure) for group in outcome.groups)
        context = RoundContext(plan=plan, spec=federation.backbone.spec, state=state)
        state, optimizer = federation.strategy.apply(outcome.received, context, optimizer)
    return replace(_outcome(federation, state, backdoor, failed=failed), groups_left_out=left_out)


def without_length_check(federation: Federation) -> Federation:
    """The same parties, who have agreed to sums of any length: what the check of the length takes away shows beside it.

    A plan whose blocks are in units of their own is the one kind of plan that no length can be known for.
    """
    agreed = federation.agreed.model_copy(update={"scaled": True})
    clients = {
        name: replace(client, policy=replace(client.policy, agreed=agreed))
        for name, client in federation.clients.items()
    }
    return replace(federation, agreed=agreed, clients=clients)


def poison(
    federation: Federation, plan: RoundPlan, state: AdapterState, backdoor: Backdoor, *, liar: str
) -> np.ndarray:
    """What one liar sends: its poisoned step, enlarged, inside the codec's range, shape (dim,)."""
    config = federation.config
    rng = Seed(config.seed).child("attacks", "poison", liar, plan.round)
    held = federation.data.clients[config.client_names.index(liar)]
    context = RoundContext(
        plan=plan_of_sum(plan, liar, federation.keys.directory), spec=federation.backbone.spec, state=state
    )
    start = federation.strategy.start(context, liar)
    task = LocalTask(
        plan=plan.for_client(liar).model_copy(update={"sample_rate": 1.0, "groups": ()}),
        trained=start.trained,
        masks=start.masks,
        noise_multiplier=0.0,
        sampling=dp.sampling.SeededPoisson(rng),
        noise=dp.noise.SeededGaussian(rng),
        physical_batch=config.training.physical_batch,
        bound_gradients="nothing",
    )
    most = held.take(rng.permutation(len(held))[: config.training.nominal_batch])
    update = train_locally(federation.backbone, start.state, federation.tokenise(backdoor.poisoned(most)), task)
    layout = federation.strategy.layout(context, ())
    vector = federation.strategy.encode(update.delta, context, liar, layout) * backdoor.boost
    limit = plan.codec_clip * (1 - MARGIN)
    return np.clip(vector, -limit, limit)


def _sending(client: Client, vector: np.ndarray) -> Client:
    return replace(client, strategy=_Sends(honest=client.strategy, vector=vector))


def _outcome(federation: Federation, state: AdapterState, backdoor: Backdoor, *, failed: int) -> PoisonOutcome:
    test = federation.data.test
    others = test.take(np.flatnonzero(test.labels != backdoor.target))
    with_trigger = predict(federation.backbone, state, federation.tokenise(backdoor.poisoned(others)))
    without = predict(federation.backbone, state, federation.tokenise(others))
    return PoisonOutcome(
        success=float((with_trigger.logits.argmax(axis=1) == backdoor.target).mean()),
        without_trigger=float((without.logits.argmax(axis=1) == backdoor.target).mean()),
        accuracy=predict(federation.backbone, state, federation.test).accuracy,
        failed_rounds=failed,
        rounds=federation.config.training.rounds,
    )
