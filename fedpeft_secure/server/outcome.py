"""Puts the figures of a finished run together."""

import math
import resource
import sys
from typing import Protocol

import dp
import secagg
from fedpeft_secure import methods, models
from fedpeft_secure.budgets import noise_kind
from fedpeft_secure.doctor import processor, versions
from fedpeft_secure.result import (
    AggregatePrivacy,
    AttackRow,
    ClientPrivacy,
    Communication,
    Compute,
    Environment,
    Privacy,
    Result,
    Setup,
    Utility,
)
from fedpeft_secure.secure_sums import corrupt_clients, guaranteed_honest
from fedpeft_secure.server.checkpoints import Progress
from fedpeft_secure.server.federation import Federation
from fedpeft_secure.server.ledger_heads import ledger_head

FP32_BYTES = 4


class Measured(Protocol):
    """What is said of predictions: the figures of `Utility`."""

    @property
    def accuracy(self) -> float:
        """Share of right answers."""
        ...

    @property
    def precision(self) -> float:
        """Macro average."""
        ...

    @property
    def recall(self) -> float:
        """Macro average."""
        ...

    @property
    def f1(self) -> float:
        """Macro average."""
        ...

    @property
    def loss(self) -> float:
        """Mean cross-entropy."""
        ...

    @property
    def majority_baseline(self) -> float:
        """Share of the largest class."""
        ...


def build_result(
    federation: Federation,
    progress: Progress,
    *,
    measured: Measured,
    attacks: tuple[AttackRow, ...],
    seconds: dict[str, float],
    examples_per_second: float,
) -> Result:
    """Everything that `result.json` holds."""
    config = federation.config
    return Result(
        setup=_setup(federation, progress),
        utility=Utility(
            accuracy=measured.accuracy,
            precision=measured.precision,
            recall=measured.recall,
            f1=measured.f1,
            loss=measured.loss,
            majority_baseline=measured.majority_baseline,
            examples=len(federation.test),
            classes=federation.data.classes,
        ),
        privacy=_privacy(federation, progress),
        communication=_communication(federation, progress),
        compute=Compute(
            seconds=_seconds(progress, seconds),
            examples_per_second=examples_per_second,
            peak_memory_bytes=peak_memory_bytes(),
        ),
        attacks=attacks,
        environment=Environment(
            versions=versions(),
            processor=processor(),
            device=federation.backbone.device.type,
            precision=federation.backbone.precision,
            seed=config.seed,
        ),
    )


def peak_memory_bytes() -> int:
    """The most memory that this process ever held."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _setup(federation: Federation, progress: Progress) -> Setup:
    config = federation.config
    return Setup(
        model=models.find_model(config.model.name).public_name,
        data=federation.data.description,
        clients=config.clients.count,
        rounds=config.training.rounds,
        method=config.peft.description,
        strategy=federation.strategy.name,
        strategy_reason=federation.strategy_reason,
        protocol=config.secure_sum.protocol,
        protocol_reason=federation.protocol_reason,
        server=config.secure_sum.server,
        train_examples=sum(len(texts) for texts in federation.data.clients),
        public_text=federation.data.public_text,
        warnings=_warnings(progress),
    )


def _warnings(progress: Progress) -> tuple[str, ...]:
    found = []
    failed = sum(bool(record.failure) for record in progress.records)
    if failed:
        found.append(f"{failed} rounds failed in the secure sum and changed nothing; their charges stand")
    return tuple(found)


def _privacy(federation: Federation, progress: Progress) -> Privacy:
    privacy = federation.config.privacy
    return Privacy(
        private=federation.private,
        unit=privacy.unit,
        relation=privacy.relation,
        accountant=privacy.accountant,
        noise=noise_kind(federation.config),  # type: ignore[arg-type]  # checked by the model
        clients=tuple(_client_row(federation, budget.client) for budget in federation.budgets),
        aggregate=_aggregate(federation, progress),
        ledger=ledger_head(federation.ledger),
    )


def _client_row(federation: Federation, client: str) -> ClientPrivacy:
    privacy, budget = federation.config.privacy, federation.clients[client].budget
    ledger = federation.clients[client].ledger
    spent = ledger.spent(client, delta=privacy.delta, accountant=privacy.accountant, relation=privacy.relation)
    return ClientPrivacy(
        client=client,
        epsilon_budget=budget.epsilon,
        epsilon_spent=spent.epsilon,
        delta=privacy.delta,
        noise_multiplier=budget.noise_multiplier,
        sample_rate=budget.sample_rate,
        steps=sum(charge.event.steps for charge in ledger.history(client)),
    )


def _aggregate(federation: Federation, progress: Progress) -> AggregatePrivacy | None:
    """What the sums alone reveal: the noise of every honest survivor protects every example in the sum.

    The variances of n honest survivors add up to Σ σ_k² ≥ n·min σ², where n is the fewest that any accepted sum holds.
    Only a release that is linear in its noise adds up so: with a second local step, or an adaptive client optimiser, a
    client reacts to its own noise alone, and nothing is claimed.
    """
    sums, training, privacy = federation.config.secure_sum, federation.config.training, federation.config.privacy
    linear = training.local_steps == 1 and training.optimizer == "sgd"
    if not federation.private or sums.protocol == "plain" or not linear:
        return None
    honest = _guaranteed_honest(federation)
    noise = min(budget.noise_multiplier for budget in federation.budgets) * math.sqrt(honest)
    epsilon = dp.epsilon(
        noise_multiplier=noise,
        sample_rate=training.sample_rate,
        steps=sum(record.attempt + 1 for record in progress.records),
        delta=privacy.delta,
        accountant=privacy.accountant,
        relation=privacy.relation,
    )
    colluders = corrupt_clients(sums.adversarial_fraction, federation.config.clients.count)
    return AggregatePrivacy(
        epsilon=epsilon,
        delta=privacy.delta,
        noise_multiplier=noise,
        honest_survivors=honest,
        assumptions=(
            f"whoever attacks sees only the sums of this run: the {sums.protocol} sum holds against a {sums.server} "
            f"server with at most {colluders} colluding clients{_third_party(sums.protocol)}; every sum that clients "
            f"help to open then holds {honest} honest survivors or more, whose noise adds up"
        ),
    )


def _third_party(protocol: str) -> str:
    return " and a key holder that does not collude with it" if protocol in secagg.ONE_MESSAGE else ""


def _guaranteed_honest(federation: Federation) -> int:
    """The fewest honest survivors of any sum that clients help to open, whatever the server says."""
    plan = next(iter(federation.clients.values())).policy.agreed
    if plan is None:
        return 1
    return guaranteed_honest(plan, dim=federation.trained.size, directory=federation.keys.directory)


def _communication(federation: Federation, progress: Progress) -> Communication:
    finished = [record for record in progress.records if record.survivors] or list(progress.records)
    upload = round(sum(record.upload_bytes for record in finished) / len(finished))
    full = FP32_BYTES * methods.base_values(federation.backbone.model)
    return Communication(
        upload_bytes=upload,
        download_bytes=round(sum(record.download_bytes for record in finished) / len(finished)),
        parameters_sent=federation.trained.size,
        full_finetuning_bytes=full,
        upload_ratio=full / max(upload, 1),
    )


def _seconds(progress: Progress, seconds: dict[str, float]) -> dict[str, float]:
    phases: dict[str, float] = {}
    for record in progress.records:
        for phase, spent in record.seconds.items():
            phases[phase] = phases.get(phase, 0.0) + spent
    whole = {name: value for name, value in seconds.items() if name != "rounds"}
    return {**whole, **phases, "total": sum(whole.values()) + sum(phases.values())}
