"""All parties of a simulated run in one process: model, data, clients, keys and the public facts about them."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from transformers import PreTrainedTokenizerBase

import dp
import dp.noise
import secagg
from fedpeft_secure import models
from fedpeft_secure.adapters import AdapterSpec, AdapterState
from fedpeft_secure.aggregation import RoundStrategy, ServerOptimizer, choose_strategy, server_optimizer
from fedpeft_secure.aggregation.base_weights import with_unchanged_base
from fedpeft_secure.aggregation.context import RoundContext
from fedpeft_secure.allocation.adaptive import decide
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
from fedpeft_secure.clients.policy import simulated_policy
from fedpeft_secure.clients.randomness import Randomness, SecureRandomness, SeededRandomness
from fedpeft_secure.config import Config
from fedpeft_secure.data import FederatedData, LabelledTexts, load
from fedpeft_secure.events import Listener, Notice, PhaseStarted
from fedpeft_secure.key_holder import SimulatedKeyHolder
from fedpeft_secure.plans import RoundPlan
from fedpeft_secure.protocols import with_decided_protocol
from fedpeft_secure.seeds import Seed
from fedpeft_secure.server.planning import plan_round


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Federation:
    """What stays the same over the rounds of a run.

    Args:
        config: the run's configuration.
        run: the run's name in plans and ledger.
        data: the texts, dealt out; of the clients' those that they train on.
        tokenizer: of the model.
        backbone: the shared model.
        strategy, strategy_reason: how updates are aggregated, and why so.
        budgets: one a client.
        clients: by name.
        agreed: the plan of the first round, to whose terms every client agreed.
        ledger: that of all simulated clients.
        keys: everybody's identities, in simulation.
        key_holder: the third party, where the secure sum has one.
        protocol_reason: why this secure sum.
        start: the adapter before the first round.
        validation, test: public examples, tokenised.
    """

    config: Config
    run: str
    data: FederatedData = field(repr=False)
    tokenizer: PreTrainedTokenizerBase = field(repr=False)
    backbone: Backbone = field(repr=False)
    strategy: RoundStrategy
    strategy_reason: str
    budgets: tuple[ClientBudget, ...]
    clients: dict[str, Client] = field(repr=False)
    agreed: RoundPlan
    ledger: dp.Ledger = field(repr=False)
    keys: secagg.Cohort = field(repr=False)
    key_holder: SimulatedKeyHolder | None = field(repr=False)
    protocol_reason: str
    start: AdapterState = field(repr=False)
    validation: Examples = field(repr=False)
    test: Examples = field(repr=False)

    @property
    def trained(self) -> AdapterSpec:
        """The tensors that clients train and send."""
        return self.strategy.trainable(self.backbone.spec)

    @property
    def private(self) -> bool:
        """Whether clients have finite budgets: all of them or none."""
        return self.budgets[0].private

    @property
    def sends_parts(self) -> bool:
        """Whether what clients send is not the whole change of every trained tensor, as it is."""
        return self.strategy.scales or self.config.aggregation.sent_share < 1

    @property
    def sent_values(self) -> int:
        """How many values a client sends in the first sum of the first round."""
        context = RoundContext(plan=self.agreed, spec=self.backbone.spec, state=self.start)
        return self.strategy.layout(context, ()).size

    @property
    def optimizer(self) -> ServerOptimizer:
        """The server's optimiser before its first step."""
        return server_optimizer(self.config.training, self.trained, private=self.private)

    def server_noise(self, plan: RoundPlan) -> dp.noise.Gaussian:
        """The source of a trusted server's noise in a round."""
        if noise_kind(self.config) == "secure":
            return dp.noise.SecureGaussian()
        stream = Seed(self.config.seed).child("server noise", "round", plan.round, "attempt", plan.attempt)
        return dp.noise.SeededGaussian(stream)

    def tokenise(self, texts: LabelledTexts) -> Examples:
        """Texts as the clients see theirs."""
        return tokenise(texts, self.tokenizer, max_length=self.config.model.max_length)


def build_federation(
    config: Config,
    *,
    run: str,
    ledger: dp.Ledger,
    ledger_path: Path,
    listen: Listener,
    store: ActivationStore | None = None,
) -> Federation:
    """Loads data and model, plans budgets and sets up every party; `store` as in `load_backbone`.

    Raises:
        InputError: If data, model or budgets cannot be used.
    """
    decisions = {}
    if config.allocation.strategy == "adaptive":
        decisions = {decision.client: decision for decision in decide(config)}
        for decision in decisions.values():
            listen(Notice(text=decision.description))
    chosen = config.secure_sum.protocol
    config, protocol_reason = with_decided_protocol(config)
    if config.secure_sum.protocol != chosen:
        listen(Notice(text=f"secure sum: {config.secure_sum.protocol}, {protocol_reason}"))
    seed = Seed(config.seed)
    by_example = config.privacy.unit == "example"
    budgets = plan_budgets(config) if by_example else ()  # a wrong budget is found before anything is loaded
    strategy, reason = choose_strategy(config)
    listen(PhaseStarted(name=f"loading data {config.data.name!r}"))
    data = load(config.data, clients=config.clients.count, seed=seed)
    listen(PhaseStarted(name=f"loading model {config.model.name!r}"))
    tokenizer = models.load_tokenizer(config.model)
    backbone, start = load_backbone(config, num_labels=len(data.classes), classes=data.classes, store=store)
    backbone = replace(backbone, spec=strategy.adapter(backbone.spec))
    start = with_unchanged_base(start, backbone.spec)
    if not by_example:
        budgets = plan_client_budgets(config, strategy.trainable(backbone.spec).size)
    elif any(budget.private for budget in budgets):
        listen(Notice(text=f"gradients of single examples: {backbone.per_example.description}"))
    third_party = config.secure_sum.protocol in secagg.ONE_MESSAGE
    keys = _identities(config, third_party=third_party)
    agreed = plan_round(config, run=run, round_number=1, attempt=0, state=start, strategy=strategy, budgets=budgets)
    fraction = config.data.client_test_fraction
    split = [
        hold_out(texts, fraction, seed=seed, client=budget.client)
        for budget, texts in zip(budgets, data.clients, strict=True)
    ]
    data = replace(data, clients=tuple(training for training, _ in split))
    clients = {
        budget.client: Client(
            name=budget.client,
            examples=replace(
                tokenise(texts, tokenizer, max_length=config.model.max_length),
                groups=group_indices(texts, config, budget.client),
            ),
            budget=budget,
            policy=simulated_policy(config, budget.client, agreed=agreed),
            privacy=config.privacy,
            backbone=backbone,
            strategy=strategy,
            ledger=ledger,
            randomness=_randomness(config, seed, budget.client),
            identity=keys.identities[budget.client],
            directory=keys.directory,
            physical_batch=(decisions[budget.client].batch if decisions else config.training.physical_batch),
            memory_file=memory_file(ledger_path, budget.client),
            own=PersonalValues(folder=personal_folder(ledger_path, run=run, client=budget.client)),
            held_out=tokenise(held, tokenizer, max_length=config.model.max_length) if len(held) else None,
        )
        for budget, (texts, held) in zip(budgets, split, strict=True)
    }
    if agreed.summed_weights:
        _tell_capped_weights(clients, agreed, listen)
    return Federation(
        config=config,
        run=run,
        data=data,
        tokenizer=tokenizer,
        backbone=backbone,
        strategy=strategy,
        strategy_reason=reason,
        budgets=budgets,
        clients=clients,
        agreed=agreed,
        ledger=ledger,
        keys=keys,
        key_holder=(
            SimulatedKeyHolder(keys=keys, min_cohort=config.secure_sum.min_cohort, seed=seed) if third_party else None
        ),
        protocol_reason=protocol_reason,
        start=start,
        validation=tokenise(data.validation, tokenizer, max_length=config.model.max_length),
        test=tokenise(data.test, tokenizer, max_length=config.model.max_length),
    )


def _identities(config: Config, *, third_party: bool) -> secagg.Cohort:
    """Everybody's keys; in one process they may follow from the seed, a deployed party makes its own."""
    make_keys = secagg.Cohort.with_key_holder if third_party else secagg.Cohort.generate
    entropy = Seed(config.seed).entropy("identities").to_bytes(16, "big")
    return make_keys(config.client_names, secagg.seeded_entropy(entropy))


def _tell_capped_weights(clients: Mapping[str, Client], agreed: RoundPlan, listen: Listener) -> None:
    """Without privacy clients weigh as many examples as they have, up to a public bound."""
    for client in clients.values():
        if len(client.examples) > agreed.max_weight:
            listen(
                Notice(
                    text=f"{client.name} has more examples than the {agreed.max_weight} that it may weigh as many as; "
                    "raise training.nominal_batch to weigh it fully"
                )
            )


def _randomness(config: Config, seed: Seed, client: str) -> Randomness:
    if noise_kind(config) == "secure":
        return SecureRandomness()
    return SeededRandomness(seed=seed, client=client)
