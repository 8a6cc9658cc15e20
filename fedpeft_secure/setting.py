"""What all parties of a run derive alike, each for itself, from its public configuration: nothing here is private."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from transformers import PreTrainedTokenizerBase

import dp
import secagg
from fedpeft_secure import models
from fedpeft_secure.adapters import AdapterState
from fedpeft_secure.aggregation import RoundStrategy, choose_strategy
from fedpeft_secure.aggregation.base_weights import with_unchanged_base
from fedpeft_secure.allocation.adaptive import decide, uneven
from fedpeft_secure.allocation.importance_file import described
from fedpeft_secure.budgets import ClientBudget, noise_kind, plan_budgets
from fedpeft_secure.client_budgets import plan_client_budgets
from fedpeft_secure.clients.backbone import Backbone, load_backbone
from fedpeft_secure.clients.batches import Examples, tokenise
from fedpeft_secure.clients.client import Client
from fedpeft_secure.clients.groups import group_indices
from fedpeft_secure.clients.held_out import hold_out
from fedpeft_secure.clients.lower_layers import ActivationStore
from fedpeft_secure.clients.memory import memory_file
from fedpeft_secure.clients.personal import PersonalValues, personal_folder
from fedpeft_secure.clients.policy import ClientPolicy
from fedpeft_secure.clients.randomness import Randomness, SecureRandomness, SeededRandomness
from fedpeft_secure.clients.trainer import Trainer
from fedpeft_secure.config import Config, MeasuredImportance
from fedpeft_secure.data import LabelledTexts
from fedpeft_secure.events import Listener, Notice, PhaseStarted
from fedpeft_secure.plans import RoundPlan
from fedpeft_secure.protocols import with_decided_protocol
from fedpeft_secure.seeds import Seed
from fedpeft_secure.server.planning import plan_round


@dataclass(frozen=True, kw_only=True, slots=True)
class Decided:
    """What follows from the configuration before anything is loaded.

    Args:
        config: with the secure sum decided.
        protocol_reason: why this secure sum.
        budgets: one a client; empty where they depend on the size of the adapter.
        strategy, strategy_reason: how updates are aggregated, and why so.
        physical_batches: examples at once, of clients for which that was decided.
    """

    config: Config
    protocol_reason: str
    budgets: tuple[ClientBudget, ...]
    strategy: RoundStrategy
    strategy_reason: str
    physical_batches: Mapping[str, int]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Setting:
    """Everything public about a run.

    Args:
        decided: what needed no model.
        run: its name in plans and ledgers.
        tokenizer, backbone: of the model.
        budgets: one a client.
        agreed: the plan of the first round, to whose terms every client agrees.
        start: the adapter before the first round.
    """

    decided: Decided
    run: str
    tokenizer: PreTrainedTokenizerBase = field(repr=False)
    backbone: Backbone = field(repr=False)
    budgets: tuple[ClientBudget, ...]
    agreed: RoundPlan
    start: AdapterState = field(repr=False)

    @property
    def config(self) -> Config:
        """The run's configuration."""
        return self.decided.config

    def budget(self, client: str) -> ClientBudget:
        """That of one client."""
        return next(budget for budget in self.budgets if budget.client == client)

    def tokenise(self, texts: LabelledTexts) -> Examples:
        """Texts as the model reads them."""
        return tokenise(texts, self.tokenizer, max_length=self.config.model.max_length)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Holdings:
    """What one client brings along, and nobody else has.

    Args:
        texts: its examples, those that it trains on.
        held_out: those that it does not; perhaps none.
        policy: its own terms.
        identity, directory: its key, and everybody's pinned public ones.
        ledger, ledger_path: where it is charged; beside it lies what it remembers.
        simulated: whether the server plays it; the keys and masks of others follow from no seed.
    """

    texts: LabelledTexts = field(repr=False)
    held_out: LabelledTexts = field(repr=False)
    policy: ClientPolicy
    identity: secagg.Identity = field(repr=False)
    directory: secagg.KeyDirectory = field(repr=False)
    ledger: dp.Ledger = field(repr=False)
    ledger_path: Path
    simulated: bool


def decide_all(config: Config, *, listen: Listener) -> Decided:
    """Decides what the configuration leaves open.

    Raises:
        InputError: If budgets or settings cannot be met.
    """
    batches: dict[str, int] = {}
    if config.allocation.strategy == "adaptive":
        decisions = decide(config)
        if isinstance(config.allocation.importance, MeasuredImportance):
            listen(Notice(text=described(config.allocation.importance)))
        for decision in decisions:
            batches[decision.client] = decision.batch
            listen(Notice(text=decision.description))
        if warning := uneven(decisions):
            listen(Notice(text=warning))
    chosen = config.secure_sum.protocol
    config, reason = with_decided_protocol(config)
    if config.secure_sum.protocol != chosen:
        listen(Notice(text=f"secure sum: {config.secure_sum.protocol}, {reason}"))
    by_example = config.privacy.unit == "example"
    budgets = plan_budgets(config) if by_example else ()  # a wrong budget is found before anything is loaded
    strategy, strategy_reason = choose_strategy(config)
    return Decided(
        config=config,
        protocol_reason=reason,
        budgets=budgets,
        strategy=strategy,
        strategy_reason=strategy_reason,
        physical_batches=batches,
    )


def load_setting(
    decided: Decided, *, run: str, classes: tuple[str, ...], listen: Listener, store: ActivationStore | None = None
) -> Setting:
    """Loads the model and plans the first round.

    Args:
        decided: the run's.
        run: its name.
        classes: names of the classes.
        listen: told about progress.
        store: as in `load_backbone`.
    """
    config, strategy = decided.config, decided.strategy
    listen(PhaseStarted(name=f"loading model {config.model.name!r}"))
    tokenizer = models.load_tokenizer(config.model)
    backbone, start = load_backbone(config, num_labels=len(classes), classes=classes, store=store)
    backbone = replace(backbone, spec=strategy.adapter(backbone.spec))
    start = with_unchanged_base(start, backbone.spec)
    budgets = decided.budgets
    if not budgets:
        budgets = plan_client_budgets(config, strategy.trainable(backbone.spec).size)
    elif any(budget.private for budget in budgets):
        listen(Notice(text=f"gradients of single examples: {backbone.per_example.description}"))
    agreed = plan_round(config, run=run, round_number=1, attempt=0, state=start, strategy=strategy, budgets=budgets)
    return Setting(
        decided=decided,
        run=run,
        tokenizer=tokenizer,
        backbone=backbone,
        budgets=budgets,
        agreed=agreed,
        start=start,
    )


def divide(texts: LabelledTexts, config: Config, client: str) -> tuple[LabelledTexts, LabelledTexts]:
    """What a client trains on, and what it holds out to measure its own model."""
    return hold_out(texts, config.data.client_test_fraction, seed=Seed(config.seed), client=client)


def build_client(setting: Setting, client: str, holdings: Holdings) -> Client:
    """One participant of the run."""
    trainer = build_trainer(setting, client, texts=holdings.texts, ledger_path=holdings.ledger_path)
    return Client(
        name=client,
        examples=trainer.examples,
        budget=trainer.budget,
        policy=holdings.policy,
        privacy=setting.config.privacy,
        backbone=trainer.backbone,
        strategy=trainer.strategy,
        ledger=holdings.ledger,
        randomness=_randomness(setting.config, client, simulated=holdings.simulated),
        identity=holdings.identity,
        directory=holdings.directory,
        physical_batch=trainer.physical_batch,
        memory_file=memory_file(holdings.ledger_path, client),
        own=trainer.own,
        held_out=setting.tokenise(holdings.held_out) if len(holdings.held_out) else None,
        start=trainer.start,
    )


def build_trainer(setting: Setting, client: str, *, texts: LabelledTexts, ledger_path: Path) -> Trainer:
    """The part of a participant that trains; `texts` and `ledger_path` as in `Holdings`."""
    config, decided = setting.config, setting.decided
    return Trainer(
        name=client,
        examples=replace(setting.tokenise(texts), groups=group_indices(texts, config, client)),
        budget=setting.budget(client),
        backbone=setting.backbone,
        strategy=decided.strategy,
        randomness=_randomness(config, client, simulated=True),
        physical_batch=decided.physical_batches.get(client, config.training.physical_batch),
        own=PersonalValues(folder=personal_folder(ledger_path, run=setting.run, client=client)),
        start=setting.start,
    )


def _randomness(config: Config, client: str, *, simulated: bool) -> Randomness:
    if noise_kind(config) == "secure":
        return SecureRandomness()
    return SeededRandomness(seed=Seed(config.seed), client=client, keys=None if simulated else os.urandom)
