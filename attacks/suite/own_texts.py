"""Somebody's own sentences as one client's batch, through a real local step and the real protocol; what comes back."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import linear_sum_assignment

from attacks.base import refuse_weaker
from attacks.inversion import TextGuess, content_pairs, count_bag, rouge
from attacks.suite.case import Case, answering_decoder, count_tokens, text_frame
from attacks.suite.texts import LONGEST, build_attack, choose_sentence
from fedpeft_secure.adapters import AdapterState
from fedpeft_secure.aggregation.context import RoundContext
from fedpeft_secure.config import Config
from fedpeft_secure.data import LabelledTexts
from fedpeft_secure.errors import ConfigError, InputError
from fedpeft_secure.events import Listener, PhaseStarted, ignore
from fedpeft_secure.result import ViewName
from fedpeft_secure.server.federation import Federation
from fedpeft_secure.server.replay import replay_round
from fedpeft_secure.sum_groups import plans_of_sums

PAIRS, PREFIXES = "distinct (position, token) pairs", "distinct beginnings of texts with cue and answer"
"""What the token budget is compared with: of encoders, and of decoders."""

WARM_ROUNDS, WARM_TEXTS = 4, 4
"""Small noise-free rounds, and texts of a client in each, before the attacked step of a configuration without a run."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TextAttack:
    """What came back of somebody's own sentences.

    Args:
        view: what the adversary saw.
        texts: the sentences, as they were given; private.
        recovered: sentences that the attack stands for, best first, other clients' too where it saw a sum; private.
        matched: for each text the recovered sentence that is nearest, or empty; private.
        rouge1, rouge2, rouge_l: of each text against its match, mean.
        token_recall: share of the texts' (position, token) pairs, special tokens aside, that the attack claims.
        false_positives: claimed pairs that nobody's text has.
        token_budget: distinct pairs up to which recovery is exact.
        tokens_present: distinct pairs in all that was summed up, special tokens included; of a decoder prefixes.
        seconds: of the attack, without training.
        attribution: what a sum says about whose sentence it is, in words.
        note: on what was played, in words.
        counted: what `tokens_present` counts, in words.
    """

    view: ViewName
    texts: tuple[str, ...] = field(repr=False)
    recovered: tuple[str, ...] = field(repr=False)
    matched: tuple[str, ...] = field(repr=False)
    rouge1: float
    rouge2: float
    rouge_l: float
    token_recall: float
    false_positives: int
    token_budget: int
    tokens_present: int
    seconds: float
    attribution: str
    note: str = ""
    counted: str = PAIRS


def attack_texts(
    federation: Federation,
    texts: Sequence[str],
    *,
    view: ViewName | None,
    before: AdapterState | None,
    shows_others: bool,
    listen: Listener = ignore,
) -> TextAttack:
    """Plays one round in which the first client's batch is `texts`, and inverts what a curious server sees.

    Labels are dealt out in turn: the attack does not need them. In a sum every other client gives one short sentence
    of its own.

    Args:
        federation: all parties of a configuration.
        texts: the sentences.
        view: what the adversary sees; by default what the configuration's own protocol and privacy leave.
        before: the adapter to start from. By default that of a few small noise-free rounds: at the very start the head
            and B are zero, no gradient reaches the words, and there is nothing to find.
        shows_others: whether recovered sentences of other clients may be returned.
        listen: told about progress.

    Raises:
        InputError: If a text is empty.
        AttackError: If the model or its update is of another kind.
    """
    require_texts(texts)
    case = as_case(federation, before if before is not None else warm_up(federation, listen))
    chosen: ViewName = view or case.own_view
    target, *others = case.plan.cohort
    batches = {target: _labelled(federation, texts)}
    if chosen.startswith("sum"):
        batches |= {name: choose_sentence(case, name, longest=LONGEST, rank=0) for name in others}
    listen(PhaseStarted(name=f"the attacked step, view {chosen}"))
    seen = case.replay(chosen, batches, client=target, name="own texts")
    listen(PhaseStarted(name="attack: span"))
    attack = build_attack(case)
    refuse_weaker(attack, seen)
    started = time.perf_counter()
    guess = attack.run(seen, rng=case.rng("own texts"))
    return _judge(case, guess, batches, view=chosen, seconds=time.perf_counter() - started, shows_others=shows_others)


def require_texts(texts: Sequence[str]) -> None:
    """Refuses empty texts.

    Raises:
        InputError: If there is one, or no text at all.
    """
    if not texts or not all(text.strip() for text in texts):
        raise InputError("--text is empty; give a sentence")


def ideal_sum_of_two(config: Config) -> Config:
    """The configuration with the sum itself in place of a protocol that refuses cohorts of two.

    Every protocol here counts at least one client as corrupt, and refuses to open a sum of two to whoever could
    subtract one. What two clients would give away all the same is read from the plain sum, which they all equal.
    """
    sums = config.secure_sum.model_copy(update={"protocol": "plain", "min_cohort": 2})
    return config.model_copy(update={"secure_sum": sums})


def refuse_client_level(config: Config) -> None:
    """Refuses client-level privacy: its noise hides whole clients, and replays of single batches do not show that.

    Raises:
        ConfigError: If the unit is the client.
    """
    if config.privacy.unit == "client":
        raise ConfigError('privacy.unit: inversion attacks single examples; set privacy.unit = "example"')


def warm_up(federation: Federation, listen: Listener = ignore) -> AdapterState:
    """The adapter after a few small rounds without noise on the configured data."""
    state, optimizer = federation.start, federation.optimizer
    names = federation.config.client_names
    for index in range(WARM_ROUNDS):
        listen(PhaseStarted(name=f"warm-up round {index + 1} of {WARM_ROUNDS}"))
        batches = {}
        for name in names[: federation.config.clients.per_round]:
            own = federation.data.clients[names.index(name)]
            first = index * WARM_TEXTS % max(len(own), 1)
            batches[name] = own.take(np.arange(first, min(first + WARM_TEXTS, len(own))))
        played = replay_round(
            federation, state, name=f"warm-up {index}", texts=batches, private=False, protocol="plain"
        )
        context = RoundContext(plan=played.plan, spec=federation.backbone.spec, state=state)
        state, optimizer = federation.strategy.apply(played.received, context, optimizer)
    return state


def as_case(federation: Federation, before: AdapterState) -> Case:
    """A case without a recorded round: every view of it is a replay."""
    config = federation.config
    cohort = config.client_names[: config.clients.per_round]
    whole = federation.agreed.model_copy(update={"cohort": cohort})
    return Case(
        federation=federation,
        transcript=None,
        plan=plans_of_sums(whole, federation.keys.directory)[0],
        before=before,
        shows_text=True,
    )


def _labelled(federation: Federation, texts: Sequence[str]) -> LabelledTexts:
    return LabelledTexts(texts=tuple(texts), labels=np.arange(len(texts)) % len(federation.data.classes))


def _judge(
    case: Case,
    guess: TextGuess,
    batches: dict[str, LabelledTexts],
    *,
    view: ViewName,
    seconds: float,
    shows_others: bool,
) -> TextAttack:
    federation, special = case.federation, text_frame(case)
    everything = [tuple(ids) for batch in batches.values() for ids in federation.tokenise(batch).token_ids]
    target = case.plan.cohort[0]
    own = tuple(tuple(ids) for ids in federation.tokenise(batches[target]).token_ids)
    pairs, present = content_pairs(own, special), content_pairs(tuple(everything), special)
    texts = batches[target].texts
    recovered = tuple(str(federation.tokenizer.decode(list(sentence))) for sentence in guess.sentences)
    matched = match(texts, recovered)
    bag = count_bag(guess, everything, special)
    scores = [rouge(text, found) for text, found in zip(texts, matched, strict=True)]
    means = np.mean([(score.rouge1, score.rouge2, score.rouge_l) for score in scores], axis=0)
    return TextAttack(
        view=view,
        texts=texts,
        recovered=recovered if shows_others else tuple(found for found in matched if found),
        matched=matched,
        rouge1=float(means[0]),
        rouge2=float(means[1]),
        rouge_l=float(means[2]),
        token_recall=len(pairs & guess.claimed) / len(pairs) if pairs else 0.0,
        false_positives=len(guess.claimed - present),
        token_budget=guess.token_budget,
        tokens_present=count_tokens(case, batches.values()),
        seconds=seconds,
        attribution=attribution(len(batches), found=bool(recovered)),
        note="" if bag is None else bag.words,
        counted=PAIRS if answering_decoder(case) is None else PREFIXES,
    )


def match(texts: Sequence[str], recovered: Sequence[str]) -> tuple[str, ...]:
    """The recovered sentence for each text, one to one, by the largest sum of ROUGE-1; empty where none is left."""
    table = np.array([[rouge(text, found).rouge1 for found in recovered] for text in texts])
    matched = [""] * len(texts)
    if table.size:
        for row, column in zip(*linear_sum_assignment(-table), strict=True):
            if table[row, column] > 0:
                matched[row] = recovered[column]
    return tuple(matched)


def attribution(clients: int, *, found: bool) -> str:
    """What a sum of `clients` updates says about whose sentence it is: the sum is symmetric in them."""
    if clients == 1 or not found:
        return ""
    return (
        f"the sum does not say whose sentence is whose: a guess is right with 1 in {clients}, that is by chance; the "
        "texts themselves are not hidden"
    )
