"""All parties of a run as its server knows them; of a simulated one in this process, the clients themselves too."""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

from transformers import PreTrainedTokenizerBase

import dp
import dp.noise
import secagg
from fedpeft_secure.accounts import Account
from fedpeft_secure.adapters import AdapterSpec, AdapterState
from fedpeft_secure.aggregation import RoundStrategy, ServerOptimizer, server_optimizer
from fedpeft_secure.aggregation.context import RoundContext
from fedpeft_secure.allocation import Allotment
from fedpeft_secure.budgets import ClientBudget, noise_kind
from fedpeft_secure.clients.backbone import Backbone
from fedpeft_secure.clients.batches import Examples, tokenise
from fedpeft_secure.clients.client import Client
from fedpeft_secure.clients.lower_layers import ActivationStore
from fedpeft_secure.clients.policy import simulated_policy
from fedpeft_secure.config import Config
from fedpeft_secure.data import FederatedData, LabelledTexts, load
from fedpeft_secure.events import Listener, Notice, PhaseStarted
from fedpeft_secure.key_holder import SimulatedKeyHolder
from fedpeft_secure.plans import RoundPlan
from fedpeft_secure.seeds import Seed
from fedpeft_secure.setting import Holdings, Setting, build_client, decide_all, divide, load_setting


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
        clients: by name, where they are simulated; elsewhere empty, since the server knows only their names.
        agreed: the plan of the first round, to whose terms every client agreed.
        ledger: that of all simulated clients; elsewhere the server's record of what it asked clients for.
        keys: everybody's pinned public keys; in simulation with their identities.
        key_holder: the third party, where the secure sum has one.
        protocol_reason: why this secure sum.
        start: the adapter before the first round.
        validation, test: public examples, tokenised.
        held: what ends with the run, such as processes that train clients.
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
    held: ExitStack = field(default_factory=ExitStack, repr=False)

    @property
    def accounts(self) -> dict[str, Account]:
        """What every client was charged, as far as the server's ledger knows."""
        return {
            budget.client: Account(client=budget.client, budget=budget, privacy=self.config.privacy, ledger=self.ledger)
            for budget in self.budgets
        }

    @property
    def trained(self) -> AdapterSpec:
        """The tensors that clients train and send."""
        return self.strategy.trainable(self.backbone.spec)

    @property
    def allotments(self) -> tuple[Allotment, ...]:
        """Every client's part of the module, in order, as the run deals it."""
        return tuple(self.agreed.allotment(budget.client) for budget in self.budgets)

    @property
    def private(self) -> bool:
        """Whether clients have finite budgets: all of them or none."""
        return self.budgets[0].private

    @property
    def sends_parts(self) -> bool:
        """Whether what clients send is not the whole change of every trained tensor, as it is."""
        return self.strategy.scales or self.config.aggregation.sent_share < 1

    @property
    def sent_from(self) -> AdapterState | None:
        """The adapter that downloads are changes of; None where the whole is sent."""
        return self.start if self.config.aggregation.downloads == "deltas" else None

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
    decided = decide_all(config, listen=listen)
    config, seed = decided.config, Seed(config.seed)
    data = load_data(config, listen=listen)
    setting = load_setting(decided, run=run, classes=data.classes, listen=listen, store=store)
    third_party = config.secure_sum.protocol in secagg.ONE_MESSAGE
    keys = _identities(config, third_party=third_party)
    split = [divide(texts, config, name) for name, texts in zip(config.client_names, data.clients, strict=True)]
    clients = {
        name: build_client(
            setting,
            name,
            Holdings(
                texts=texts,
                held_out=held,
                policy=simulated_policy(config, name, agreed=setting.agreed),
                identity=keys.identities[name],
                directory=keys.directory,
                ledger=ledger,
                ledger_path=ledger_path,
                simulated=True,
            ),
        )
        for name, (texts, held) in zip(config.client_names, split, strict=True)
    }
    if setting.agreed.summed_weights:
        _tell_capped_weights(clients, setting.agreed, listen)
    return federation_of(
        setting,
        replace(data, clients=tuple(training for training, _ in split)),
        ledger=ledger,
        clients=clients,
        keys=keys,
        key_holder=(
            SimulatedKeyHolder(keys=keys, min_cohort=config.secure_sum.min_cohort, seed=seed) if third_party else None
        ),
    )


def load_data(config: Config, *, listen: Listener) -> FederatedData:
    """The configured data, dealt out."""
    listen(PhaseStarted(name=f"loading data {config.data.name!r}"))
    return load(config.data, clients=config.clients.count, seed=Seed(config.seed))


def federation_of(
    setting: Setting,
    data: FederatedData,
    *,
    ledger: dp.Ledger,
    clients: dict[str, Client],
    keys: secagg.Cohort,
    key_holder: SimulatedKeyHolder | None,
) -> Federation:
    """Puts the parties of a run together."""
    decided = setting.decided
    return Federation(
        config=setting.config,
        run=setting.run,
        data=data,
        tokenizer=setting.tokenizer,
        backbone=setting.backbone,
        strategy=decided.strategy,
        strategy_reason=decided.strategy_reason,
        budgets=setting.budgets,
        clients=clients,
        agreed=setting.agreed,
        ledger=ledger,
        keys=keys,
        key_holder=key_holder,
        protocol_reason=decided.protocol_reason,
        start=setting.start,
        validation=setting.tokenise(data.validation),
        test=setting.tokenise(data.test),
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
