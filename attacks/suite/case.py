"""The case that the red team works on: a trained run, its recorded round, and replays with a defence switched off."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

import secagg
from attacks.base import ThreatModel, View
from attacks.errors import AttackError, NotApplicableError
from attacks.inversion.frames import Frame, SpecialTokens
from attacks.inversion.orders import prefixes
from attacks.views import messages_of, read_view
from fedpeft_secure.adapters import AdapterSpec, AdapterState
from fedpeft_secure.aggregation.context import RoundContext
from fedpeft_secure.budgets import plan_budgets
from fedpeft_secure.clients.randomness import SeededRandomness
from fedpeft_secure.clients.training import draw_sample
from fedpeft_secure.data import LabelledTexts
from fedpeft_secure.engines.rounds import TRAIN
from fedpeft_secure.label_words import CausalAnswers
from fedpeft_secure.plans import RoundPlan, unpack_request
from fedpeft_secure.result import AttackRow, ViewName
from fedpeft_secure.secure_sums import secure_sum, sum_plan
from fedpeft_secure.seeds import Seed
from fedpeft_secure.server.federation import Federation
from fedpeft_secure.server.job import TrainedRun
from fedpeft_secure.server.replay import replay_round
from fedpeft_secure.sum_groups import plans_of_sums

VIEWS: tuple[ViewName, ...] = ("individual", "individual-dp", "sum", "sum-dp")

PROBE = "a"
"""A text that shows what a tokenizer puts around one."""

REFERENCE_EPSILON = 8.0
"""The budget whose noise is tried on a run that has none, to show what it would buy."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Case:
    """What the referee holds. Attacks get views only.

    Args:
        federation: all parties of the run.
        transcript: of the attacked round; None where only replays are looked at.
        plan: of that round; where each group has a sum of its own, that of the first one opened.
        before: the adapter that was sent out in it.
        final: the adapter after the last round; None where nothing was trained.
        shows_text: whether recovered text may be reported.
    """

    federation: Federation = field(repr=False)
    transcript: secagg.Transcript | None = field(repr=False)
    plan: RoundPlan
    before: AdapterState = field(repr=False)
    final: AdapterState | None = field(default=None, repr=False)
    shows_text: bool

    @property
    def own_view(self) -> ViewName:
        """The view that the run's own protocol and privacy leave to a curious server."""
        individual = self.plan.protocol == "plain"
        if individual:
            return "individual-dp" if self.plan.private else "individual"
        return "sum-dp" if self.plan.private else "sum"

    @property
    def decided_by(self) -> str:
        """Where the noise of the "-dp" replays comes from, in words; empty where it is the run's own."""
        return "" if self.plan.private else f"the noise is what ε = {REFERENCE_EPSILON:g} would take"

    def rng(self, *path: str | int) -> np.random.Generator:
        """A stream of the referee's."""
        return Seed(self.federation.config.seed).child("attacks", *path)

    def target(self, view: ViewName, client: str) -> ThreatModel:
        """A curious server that reads `client`'s message, or the sum."""
        return ThreatModel(target=client if view.startswith("individual") else None)

    def read(self, client: str) -> View:
        """The run's own view of the attacked round.

        Raises:
            AttackError: If no round was recorded.
        """
        if self.transcript is None:
            raise AttackError("no round was recorded, only replays can be looked at")
        return self._view(self.federation, self.transcript, self.target(self.own_view, client))

    def replay(self, view: ViewName, texts: Mapping[str, LabelledTexts], *, client: str, name: str) -> View:
        """The view of a marked replay of the attacked round, in which each client's batch is exactly its `texts`."""
        private = view.endswith("-dp")
        federation = self.federation
        if private and not self.plan.private:
            federation = _with_reference_noise(federation)
        individual = view.startswith("individual")
        played = replay_round(
            federation,
            self.before,
            name=f"{name} {view}",
            texts={client: texts[client]} if individual else texts,
            private=private,
            protocol="plain" if individual else federation.config.secure_sum.protocol,
        )
        return self._view(federation, played.transcript, self.target(view, client))

    def batch(self, client: str) -> np.ndarray:
        """Indices of the examples in a client's batch of the attacked round; all of them where nobody can know."""
        party = self.federation.clients[client]
        if not isinstance(party.randomness, SeededRandomness):
            return np.arange(len(party.examples))
        sampler = party.randomness.sampling(self.plan)
        own = self.plan.for_client(client)
        draws = [draw_sample(party.examples, own, sampler) for _ in range(own.local_steps)]
        return np.unique(np.concatenate(draws))

    def _view(self, federation: Federation, transcript: secagg.Transcript, threat: ThreatModel) -> View:
        spec = federation.backbone.spec
        plan, before = unpack_request(
            transcript.between(sender=secagg.SERVER, phase=TRAIN)[0].payload, spec, start=federation.start
        )
        layout = federation.strategy.layout(RoundContext(plan=plan, spec=spec, state=before), ())
        sent = {block.owner for block in layout.blocks}
        return read_view(
            transcript,
            threat,
            member=threat.target or self.plan.cohort[0],
            adapter=spec,
            start=federation.start,
            trained=AdapterSpec(entries=tuple(entry for entry in spec.entries if entry.name in sent)),
            covered=layout.covered,
            directory=federation.keys.directory,
            noise_multipliers={budget.client: budget.noise_multiplier for budget in federation.budgets},
        )


def open_case(trained: TrainedRun) -> Case:
    """Reads the recorded round of a run.

    Raises:
        AttackError: If no round was recorded.
    """
    recorded = sorted(trained.directory.transcript.glob("round-*.transcript"))
    if not recorded:
        raise AttackError(f"{trained.directory.transcript} holds no recorded round; attacks need one")
    transcript = secagg.Transcript.load(recorded[-1])
    request = transcript.between(sender=secagg.SERVER, phase=TRAIN)[0].payload
    whole, before = unpack_request(request, trained.federation.backbone.spec, start=trained.federation.start)
    return Case(
        federation=trained.federation,
        transcript=transcript,
        plan=opened_sum(trained.federation, transcript, whole),
        before=before,
        final=trained.progress.state if trained.progress.rounds_done else None,
        shows_text=trained.shows_text,
    )


def opened_sum(federation: Federation, transcript: secagg.Transcript, whole: RoundPlan) -> RoundPlan:
    """The plan of the round's first sum that was opened."""
    directory, dim = federation.keys.directory, federation.sent_values
    first, *others = plans_of_sums(whole, directory)
    for plan in (first, *others) if others else ():
        sums = sum_plan(plan, dim=dim, directory=directory)
        try:
            secagg.replay_aggregate(secure_sum(plan), sums, messages_of(transcript, plan.cohort), directory=directory)
        except secagg.ProtocolError:
            continue
        return plan
    return first


def not_measured(attack: str, metric: str, view: ViewName, *, replay: bool, reason: str) -> AttackRow:
    """The row of an attack that could not be played."""
    return AttackRow(
        attack=attack, view=view, replay=replay, metric=metric, value=None, low=None, high=None, null=None, note=reason
    )


def special_tokens(case: Case) -> SpecialTokens:
    """The frame that the tokenizer puts around a text.

    Raises:
        NotApplicableError: If it has none.
    """
    tokenizer = case.federation.tokenizer
    first = tokenizer.bos_token_id if tokenizer.cls_token_id is None else tokenizer.cls_token_id
    last = tokenizer.eos_token_id if tokenizer.sep_token_id is None else tokenizer.sep_token_id
    if first is None or last is None:
        raise NotApplicableError("inversion reads encoders whose texts stand between two special tokens")
    return SpecialTokens(first=first, last=last, padding=tokenizer.pad_token_id or 0)


def text_frame(case: Case) -> Frame:
    """What stands around every text, whatever the model."""
    tokenizer, model = case.federation.tokenizer, answering_decoder(case)
    plain = tokenizer(PROBE, add_special_tokens=False)["input_ids"]
    whole = tokenizer(PROBE)["input_ids"]
    start = next(at for at in range(len(whole)) if whole[at : at + len(plain)] == plain)
    first, last = tuple(whole[:start]), tuple(whole[start + len(plain) :])
    tails = (last,) if model is None else tuple((*last, *tail) for tail in model.tails)
    return Frame(first=first, last=last, padding=tokenizer.pad_token_id or 0, tails=tails)


def answering_decoder(case: Case) -> CausalAnswers | None:
    """The decoder inside the model, if it is one."""
    found = (module for module in case.federation.backbone.model.modules() if isinstance(module, CausalAnswers))
    return next(found, None)


def count_tokens(case: Case, batches: Iterable[LabelledTexts]) -> int:
    """What the token budget is compared with: distinct (position, token) pairs with special tokens, or in a decoder
    distinct prefixes with cue and answer, which its later layers see."""
    decoder = answering_decoder(case)
    examples = [case.federation.tokenise(batch) for batch in batches]
    rows = [(tuple(ids), int(y)) for one in examples for ids, y in zip(one.token_ids, one.labels, strict=True)]
    if decoder is None:
        return len({pair for ids, _ in rows for pair in enumerate(ids)})
    return len(prefixes([(*ids, *decoder.tails[label]) for ids, label in rows]))


def _with_reference_noise(federation: Federation) -> Federation:
    privacy = federation.config.privacy.model_copy(
        update={"epsilon": REFERENCE_EPSILON, "per_client": {}, "groups": {}}
    )
    config = federation.config.model_copy(update={"privacy": privacy})
    return replace(federation, budgets=plan_budgets(config))
