"""Puts the figures of a finished run together."""

import resource
import sys
from typing import Protocol

from fedpeft_secure import methods, models
from fedpeft_secure.allocation.adaptive import decide
from fedpeft_secure.budgets import clip_norm_of, noise_kind
from fedpeft_secure.config import Config
from fedpeft_secure.doctor import processor, versions
from fedpeft_secure.result import (
    AllocationRow,
    AttackRow,
    ClientPrivacy,
    Communication,
    Compute,
    Environment,
    GroupPrivacy,
    Privacy,
    Result,
    Setup,
    Utility,
)
from fedpeft_secure.server.checkpoints import Progress
from fedpeft_secure.server.federation import Federation
from fedpeft_secure.server.ledger_heads import ledger_head
from fedpeft_secure.server.personal import personal_utility
from fedpeft_secure.server.statements import aggregate_privacy, clients_assumptions

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
        personal=personal_utility(federation, progress),
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
        groups=config.aggregation.groups,
        robust=config.aggregation.robust,
        train_examples=sum(len(texts) for texts in federation.data.clients),
        public_text=federation.data.public_text,
        allocation=_allocation(config),
        warnings=_warnings(progress),
    )


def _allocation(config: Config) -> tuple[AllocationRow, ...]:
    if config.allocation.strategy != "adaptive":
        return ()
    return tuple(
        AllocationRow(
            client=decision.client,
            device=decision.device,
            layers=decision.layers,
            rank=decision.rank,
            targets=decision.targets,
            batch=decision.batch,
            local_steps=decision.local_steps,
            memory_bytes=decision.peak_bytes,
            seconds=decision.seconds,
            reason=decision.reason,
        )
        for decision in decide(config)
    )


def _warnings(progress: Progress) -> tuple[str, ...]:
    found = []
    failed = sum(bool(record.failure) for record in progress.records)
    if failed:
        found.append(f"{failed} rounds failed in the secure sum and changed nothing; their charges stand")
    if progress.ended:
        found.append(progress.ended)
    found += [f"{left.client} left after round {left.after_round}: {left.reason}" for left in progress.departures]
    return tuple(found)


def _privacy(federation: Federation, progress: Progress) -> Privacy:
    privacy = federation.config.privacy
    return Privacy(
        private=federation.private,
        unit=privacy.unit,
        relation=privacy.relation,
        accountant=privacy.accountant,
        noise=noise_kind(federation.config),
        mechanism="per_example" if (noise := federation.budgets[0].client_noise) is None else noise.mechanism,
        clients=tuple(_client_row(federation, budget.client) for budget in federation.budgets),
        clients_assumptions=clients_assumptions(federation),
        aggregate=aggregate_privacy(federation, progress.records),
        departures=progress.departures,
        ledger=ledger_head(federation.ledger),
    )


def _client_row(federation: Federation, client: str) -> ClientPrivacy:
    privacy, ledger, budget = federation.config.privacy, federation.ledger, federation.accounts[client].budget

    def spent(group: str | None) -> float:
        return ledger.spent(
            client, delta=budget.delta, accountant=privacy.accountant, relation=privacy.relation, group=group
        ).epsilon

    charges = ledger.history(client)
    return ClientPrivacy(
        client=client,
        epsilon_budget=budget.epsilon,
        epsilon_spent=spent(None),
        delta=budget.delta,
        noise_multiplier=budget.noise_multiplier,
        sample_rate=budget.sample_rate,
        steps=sum(charge.event.steps for charge in charges if charge.release.run == federation.run),
        ledger_steps=sum(charge.event.steps for charge in charges),
        clip_norm=clip_norm_of(federation.config, budget),
        groups=tuple(
            GroupPrivacy(
                group=group.name,
                epsilon_budget=group.epsilon,
                epsilon_spent=spent(group.name),
                share=group.share,
                sample_rate=group.sample_rate,
            )
            for group in budget.groups
        ),
    )


def _communication(federation: Federation, progress: Progress) -> Communication:
    finished = [record for record in progress.records if record.survivors] or list(progress.records)
    upload = round(sum(record.upload_bytes for record in finished) / len(finished))
    full = FP32_BYTES * methods.base_values(federation.backbone.model)
    return Communication(
        upload_bytes=upload,
        download_bytes=round(sum(record.download_bytes for record in finished) / len(finished)),
        parameters_sent=federation.sent_values,
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
