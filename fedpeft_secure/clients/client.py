"""A client: it checks, trains, charges its ledger, and only then opens a session that sends anything."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

import dp
import secagg
from fedpeft_secure.accounts import Account, release_of
from fedpeft_secure.adapters import AdapterState
from fedpeft_secure.aggregation.context import RoundContext
from fedpeft_secure.aggregation.round_strategy import RoundStrategy
from fedpeft_secure.budgets import ClientBudget
from fedpeft_secure.client_noise import encode_update
from fedpeft_secure.clients.backbone import Backbone
from fedpeft_secure.clients.batches import Examples
from fedpeft_secure.clients.memory import load_memory, save_memory
from fedpeft_secure.clients.personal import PersonalValues
from fedpeft_secure.clients.policy import ClientPolicy
from fedpeft_secure.clients.randomness import Randomness, SeededRandomness
from fedpeft_secure.clients.trainer import Elsewhere, Trainer
from fedpeft_secure.config import PrivacyConfig
from fedpeft_secure.errors import PolicyError, TrainingFailedError
from fedpeft_secure.plans import RoundPlan, pack_means, unpack_next, unpack_request
from fedpeft_secure.secure_sums import secure_sum, sent_parts, sum_plan
from fedpeft_secure.sum_groups import plan_of_sum

UNSENDABLE = b""
"""What the ledger stores for a charged release that could not be made or encoded."""

FAILURES = (dp.PrivacyError, ValueError, ArithmeticError, RuntimeError, TrainingFailedError)
"""What training may raise because of the examples that were drawn, out of memory included."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class OpenRound:
    """A round that a client has answered: what it knows of it, and its own update; None where it was restarted."""

    context: RoundContext = field(repr=False)
    delta: Mapping[str, np.ndarray] | None = field(repr=False)


@dataclass(kw_only=True, slots=True, eq=False)
class Client:
    """One participant.

    Guarantee: nothing that depends on its examples leaves before the charge for it and the very bytes are in the
    ledger, in one transaction; an interrupted release is sent again as the same bytes or not at all.
    Does not cover: what the owner of this process can read.

    Args:
        name: as in the cohort.
        examples: its private data.
        budget: what it may spend, and its noise.
        policy: its own terms.
        privacy: unit, relation and accountant of its ledger.
        backbone: the model, shared with other simulated clients.
        strategy: how its update becomes a vector.
        ledger: durable; shared by simulated clients, which have a row each.
        randomness: of sampling, noise and rounding.
        identity, directory: its own key and everybody's pinned public keys.
        physical_batch: examples processed at once.
        memory_file: holds what it has sent so far, against differencing.
        own: what it keeps for itself from round to round.
        held_out: examples like its own that it does not train on; None without any.
        start: the adapter before the first round, for servers that send what changed since.
        examples_processed, training_seconds: for throughput; private, never sent.
        opened: the round that it has answered last, where that goes on with another sum.
        elsewhere: does in its place what a round asks, in another process of this machine, or measuring where others
            train; None where `trainer` does.
    """

    name: str
    examples: Examples = field(repr=False)
    budget: ClientBudget
    policy: ClientPolicy
    privacy: PrivacyConfig
    backbone: Backbone = field(repr=False)
    strategy: RoundStrategy
    ledger: dp.Ledger = field(repr=False)
    randomness: Randomness
    identity: secagg.Identity = field(repr=False)
    directory: secagg.KeyDirectory = field(repr=False)
    physical_batch: int
    memory_file: Path
    own: PersonalValues
    held_out: Examples | None = field(default=None, repr=False)
    start: AdapterState | None = field(default=None, repr=False)
    examples_processed: int = field(default=0, repr=False)
    training_seconds: float = field(default=0.0, repr=False)
    opened: OpenRound | None = field(default=None, repr=False)
    elsewhere: Elsewhere | None = field(default=None, repr=False)

    @property
    def account(self) -> Account:
        """What it was charged, and may still be."""
        return Account(
            client=self.name,
            budget=self.budget,
            privacy=self.privacy,
            ledger=self.ledger,
            total_epsilon=self.policy.max_total_epsilon,
        )

    @property
    def trainer(self) -> Trainer:
        """The part of it that looks at its examples."""
        return Trainer(
            name=self.name,
            examples=self.examples,
            budget=self.budget,
            backbone=self.backbone,
            strategy=self.strategy,
            randomness=self.randomness,
            physical_batch=self.physical_batch,
            own=self.own,
        )

    def train_ahead(self, plan: RoundPlan, request: bytes) -> None:
        """Starts training elsewhere, if this client will answer the request: so that several train side by side.

        Guarantee: its own terms and its ledger are asked first; a refusal comes when the session is opened.
        """
        if self.elsewhere is None or self.account.stored(plan) is not None:
            return
        with suppress(PolicyError, dp.BudgetExceeded):
            self.policy.check(plan, client=self.name, budget=self.budget)
            self.account.check(plan)
            self.forget_uncharged(plan)
            self.elsewhere.begin(self.name, request)

    def open_session(self, request: bytes) -> secagg.ClientSession:
        """Answers the server's request with a session of the secure sum that holds this client's contribution.

        Raises:
            PolicyError: The request is malformed or breaks the client's own terms.
            dp.BudgetExceeded: The release would overspend; nothing was sent or stored.
            secagg.ProtocolError: The secure sum's plan is refused.
        """
        plan, state = unpack_request(request, self.backbone.spec, start=self.start)
        self.policy.check(plan, client=self.name, budget=self.budget)
        asked = RoundContext(plan=plan, spec=self.backbone.spec, state=state)
        plan = plan_of_sum(plan, self.name, self.directory)
        context = replace(asked, plan=plan)
        layout = self.strategy.layout(context, ())
        sums = sum_plan(plan, dim=layout.size, directory=self.directory, covered=layout.covered)
        if self.budget.client_noise is not None:
            self.budget.client_noise.check(plan, sums)
        account, delta = self.account, None
        stored = account.stored(plan)
        if stored is None:
            account.check(plan)
            self.forget_uncharged(plan)
            try:
                delta = self._train(asked)
                stored = self._encode(plan, sums, self.strategy.encode(delta, context, self.name, layout))
            except FAILURES:
                account.charge(plan, UNSENDABLE)  # that it failed depends on the examples, and shows
                raise
            account.charge(plan, stored)
        self.opened = OpenRound(context=context, delta=delta) if plan.sums > 1 else None
        if stored == UNSENDABLE:
            raise PolicyError(
                f"{self.name} cannot send round {plan.round}: its update leaves the codec's range, or could not be "
                "made; raise secure_sum.clip"
            )
        return self._session(plan, sums, stored, received=sent_parts(state.digest(), b""))

    def forget_uncharged(self, plan: RoundPlan) -> None:
        """Drops what it kept of attempts that were never charged, but for the plan's own, which may be at work."""
        charged = {charge.release for charge in self.ledger.history(self.name)} | {release_of(plan)}
        self.own.keep_only({(one.round, one.attempt) for one in charged if one.run == plan.run})

    def open_next_session(self, request: bytes) -> secagg.ClientSession:
        """Answers the request for another sum of the round that this client has just answered.

        Guarantee: what is sent is a function of the update that was charged, and of sums that are public: no examples
        are read again, unless a simulation was interrupted, which then repeats the very same update.

        Raises:
            PolicyError: The request is malformed, is not of this round, or nothing is left to answer it with.
            secagg.ProtocolError: The secure sum's plan is refused.
        """
        plan, earlier = unpack_next(request)
        context, delta = self._opened(plan)
        layout = self.strategy.layout(context, earlier)
        sent = pack_means(earlier)
        sums = sum_plan(plan, dim=layout.size, directory=self.directory, covered=layout.covered, earlier=sent)
        vector = self.strategy.encode(delta, context, self.name, layout)
        contribution = self._encode(plan, sums, vector)
        if contribution == UNSENDABLE:
            raise PolicyError(f"{self.name} cannot send sum {plan.phase + 1} of round {plan.round}: out of range")
        return self._session(plan, sums, contribution, received=sent_parts(context.state.digest(), sent))

    def _opened(self, plan: RoundPlan) -> tuple[RoundContext, Mapping[str, np.ndarray]]:
        """The round that `plan` goes on with, and this client's update in it."""
        if self.opened is None or plan.phase == 0:
            raise PolicyError(f"{self.name} has not answered round {plan.round}, and so has nothing for another sum")
        context = self.opened.context
        first = plan.model_copy(update={"phase": 0, "cohort": context.plan.cohort})
        followed = plan.phase < plan.sums and set(plan.cohort) <= set(context.plan.cohort) and self.name in plan.cohort
        if first != context.plan or not followed:
            raise PolicyError(f"{self.name} refuses another sum of round {plan.round}: it is not the round it answered")
        if plan.private and plan.malicious_server and plan.cohort != context.plan.cohort:
            # Both sums hold the same noise, so that their difference would show the missing clients' updates: without
            # noise the client's memory of survivors sees to that.
            raise PolicyError(
                f"{self.name} refuses another sum of round {plan.round} over fewer clients than the first"
            )
        if self.opened.delta is not None:
            return context, self.opened.delta
        if not isinstance(self.randomness, SeededRandomness):
            raise PolicyError(f"{self.name} was restarted within round {plan.round}; plan another attempt")
        return context, self._train(context)

    def _train(self, context: RoundContext) -> Mapping[str, np.ndarray]:
        """Trains as the plan says; the change of every trained tensor by name."""
        trained = self.trainer.train(context) if self.elsewhere is None else self.elsewhere.train(self.name, context)
        self.training_seconds += trained.seconds
        self.examples_processed += trained.examples
        return trained.delta

    def _session(
        self, plan: RoundPlan, sums: secagg.SumPlan, contribution: bytes, *, received: Mapping[str, bytes]
    ) -> secagg.ClientSession:
        member = secagg.Member(
            name=self.name,
            identity=self.identity,
            directory=self.directory,
            received=received,
            memory=load_memory(self.memory_file),
            min_cohort=self.policy.min_cohort,
            adversarial_fraction=self.policy.adversarial_fraction,
            malicious_server=not self.policy.trusts_server,
            noised=self.budget.private,
        )
        return secure_sum(plan).client(
            sums,
            member=member,
            contribution=secagg.Encoded.from_bytes(contribution),
            entropy=self.randomness.entropy(plan),
        )

    def remember(self, memory: secagg.ClientMemory) -> None:
        """Stores what is about to be sent, before it is."""
        save_memory(self.memory_file, memory)

    def _encode(self, plan: RoundPlan, sums: secagg.SumPlan, vector: np.ndarray) -> bytes:
        """The contribution's bytes, or UNSENDABLE.

        Whether an update fits the codec depends on the examples, so even that answer is charged before it is given.
        """
        weight = min(max(len(self.examples), 1), plan.max_weight) if plan.summed_weights else None
        if self.budget.client_noise is not None:
            rng, source = self.randomness.rounding(plan), self.randomness.shares(plan)
            vector = encode_update(self.budget.client_noise, plan, vector, rng=rng, source=source)
        try:
            return sums.encode(self.name, vector, weight=weight, rng=self.randomness.rounding(plan)).to_bytes()
        except secagg.CodecError:
            return UNSENDABLE
