"""One measuring session over the clients, before a run: how their data spread the gradient over the module.

It is a round like any other, through the configured secure sum: every client checks the plan by its own policy, is
charged on its own ledger, and sends a noised vector. Nothing is trained.
"""

import math
import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

import dp
import secagg
from fedpeft_secure.adapters import AdapterState
from fedpeft_secure.aggregation.on_tensors import OnTensors
from fedpeft_secure.aggregation.one_vector import OneVector
from fedpeft_secure.aggregation.round_strategy import Received
from fedpeft_secure.allocation import choose_cohort
from fedpeft_secure.allocation.adaptive import CLASSES
from fedpeft_secure.allocation.shapes import LOW_RANK, load_shape
from fedpeft_secure.budgets import noise_kind
from fedpeft_secure.clients.characteristics import LABEL_LENGTH, Cells, Measurer, probe
from fedpeft_secure.clients.client import Client
from fedpeft_secure.clients.policy import simulated_policy
from fedpeft_secure.config import AggregationConfig, AllocationConfig, Config, MeasuredImportance
from fedpeft_secure.engines.in_process import InProcess
from fedpeft_secure.errors import ConfigError, RunFailedError
from fedpeft_secure.events import Listener, Notice
from fedpeft_secure.models import find_model
from fedpeft_secure.plans import MOST_NOMINAL, RoundPlan
from fedpeft_secure.preflight import check
from fedpeft_secure.resolving import resolve
from fedpeft_secure.seeds import Seed
from fedpeft_secure.server.federation import Federation

BEFORE_THE_FIRST = 0
"""The round of the session: its streams of seeded noise are none of a training round's."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Session:
    """All parties of a measuring session, its plan, what is measured, and where."""

    federation: Federation = field(repr=False)
    plan: RoundPlan
    cells: Cells
    state: AdapterState = field(repr=False)


def measure(config: Config, *, listen: Listener) -> MeasuredImportance:
    """Measures the whole configured module over the clients of a first round, all in this process.

    Guarantee: a private client is charged on the ledger of `privacy.ledger` before anything leaves it; nobody is asked
        if one of them cannot afford it.

    Args:
        config: of the run that follows; what is said of devices, allocation and aggregation does not matter.
        listen: told about progress, and what it will cost.

    Raises:
        InputError: If nothing can be measured so, or a client cannot afford it.
        RunFailedError: If the secure sum fails.
    """
    config = _measuring(config)
    with _ledger(config) as (path, ledger), ExitStack() as stack:
        name = f"characteristics-{secrets.token_hex(8)}"
        federation = InProcess().gather(config, run=name, ledger=ledger, ledger_path=path, listen=listen, store=None)
        stack.enter_context(federation.held)
        session = _prepared(federation)
        _check_affordable(session)
        listen(Notice(text=_price(session)))
        outcome = InProcess().play(session.federation, session.plan, session.state, listen=listen)
    for refusal in outcome.refusals:
        listen(Notice(text=refusal))
    if outcome.received is None:
        raise RunFailedError(f"the measuring session failed: {outcome.failure}; what clients were charged stands")
    return _read(session, outcome.received)


def check_charged(config: Config, ledger: dp.Ledger) -> None:
    """Refuses noised characteristics whose charges are on another ledger than that of a private run.

    Raises:
        ConfigError: Names the setting.
    """
    found = config.allocation.importance
    if not isinstance(found, MeasuredImportance) or not (found.private and _private(config)):
        return
    charged = [
        any(charge.release.run == found.release for charge in ledger.history(name)) for name in config.client_names
    ]
    if sum(charged) < found.clients:
        raise ConfigError(
            f"allocation.importance: {found.release} was charged on another ledger, for {sum(charged)} of "
            f"{found.clients} clients on this one; name in privacy.ledger the one that was charged, or measure again"
        )


def _measuring(config: Config) -> Config:
    """The configuration of the session.

    Raises:
        ConfigError: If it cannot measure what it should.
    """
    if config.privacy.unit == "client":
        raise ConfigError(
            'privacy.unit: characteristics are noised by example; use "example", or leave allocation.importance away'
        )
    if config.peft.method not in LOW_RANK:
        raise ConfigError(
            f"peft.method: characteristics are measured of LoRA and rsLoRA, and not of {config.peft.method!r}; use "
            '"lora" or "rslora"'
        )
    config = resolve(
        config.model_copy(
            update={
                "allocation": AllocationConfig(importance_noise=config.allocation.importance_noise),
                "aggregation": AggregationConfig(),
                "training": config.training.model_copy(update={"control_variates": False}),
                "clients": config.clients.model_copy(update={"workers": 1}),
            }
        )
    )
    check(config)
    load_shape(config.model.name, classes=CLASSES)
    if _private(config) and config.privacy.ledger == "run":
        raise ConfigError(
            'privacy.ledger: "run" is a ledger that begins with the run, and this charge comes before; name a file '
            "that the run will share"
        )
    return config


def _private(config: Config) -> bool:
    return any(config.is_private(client) for client in config.client_names)


@contextmanager
def _ledger(config: Config) -> Iterator[tuple[Path, dp.Ledger]]:
    """The ledger that the run will share; without privacy, where none is named, one that is thrown away."""
    with ExitStack() as stack:
        named = config.privacy.ledger != "run"
        folder = Path() if named else Path(stack.enter_context(TemporaryDirectory()))
        path = Path(config.privacy.ledger).expanduser().resolve() if named else folder / "ledger.sqlite"
        yield path, stack.enter_context(dp.Ledger.open(path))


def _prepared(federation: Federation) -> _Session:
    """Every client with the noise, the terms and the work of this session."""
    config = federation.config
    spec, noise = federation.backbone.spec, config.allocation.importance_noise if federation.private else 0.0
    cells = Cells.of(spec, targets=config.peft.targets, classes=len(federation.data.classes))
    state = probe(federation.start, spec, Seed(config.seed))
    strategy = OnTensors(strategy=OneVector(size=cells.size))
    plan = _plan(federation, state, strategy=strategy.name, noise_multiplier=noise)
    clients = {
        name: replace(
            client,
            budget=replace(client.budget, noise_multiplier=noise),
            policy=simulated_policy(config, name, agreed=plan),
            strategy=strategy,
        )
        for name, client in federation.clients.items()
    }
    measurer = Measurer(trainers={name: client.trainer for name, client in clients.items()}, cells=cells)
    measuring: dict[str, Client] = {name: replace(client, elsewhere=measurer) for name, client in clients.items()}
    return _Session(
        federation=replace(federation, clients=measuring, strategy=strategy), plan=plan, cells=cells, state=state
    )


def _plan(federation: Federation, state: AdapterState, *, strategy: str, noise_multiplier: float) -> RoundPlan:
    """One step over a Poisson sample, of vectors of length 1, divided by the most examples that a sample may hold."""
    config, sums = federation.config, federation.config.secure_sum
    most = float(MOST_NOMINAL * config.training.nominal_batch)
    return RoundPlan(
        run=federation.run,
        round=BEFORE_THE_FIRST,
        attempt=0,
        cohort=choose_cohort(config, 1),
        model_hash=state.digest().hex(),
        strategy=strategy,
        local_steps=1,
        sample_rate=config.training.sample_rate,
        nominal_batch=most,
        optimizer="sgd",
        learning_rate=1.0,
        clip_norm=1.0,
        noise_multiplier=noise_multiplier,
        protocol=sums.protocol,
        malicious_server=sums.server == "malicious",
        min_cohort=sums.min_cohort,
        adversarial_fraction=sums.adversarial_fraction,
        dropout_fraction=sums.dropout_fraction,
        codec_clip=1 + 6 * noise_multiplier / most,
        codec_bits=sums.bits,
        private=federation.private,
        weighing="uniform",
    )


def _check_affordable(session: _Session) -> None:
    """Asks every ledger before any example is looked at."""
    for name in session.plan.cohort:
        if reason := session.federation.clients[name].account.shortage(session.plan):
            raise ConfigError(f"allocation.importance_noise: {reason}; or raise it")


def _price(session: _Session) -> str:
    """What every client is about to be charged, in words."""
    config, plan = session.federation.config, session.plan
    if not plan.private:
        return "characteristics: NO PRIVACY BUDGET (epsilon = inf): the exact sum is released"
    privacy, noise = config.privacy, plan.noise_multiplier
    delta = min(session.federation.clients[name].budget.delta for name in plan.cohort)
    epsilon = dp.epsilon(
        noise_multiplier=noise,
        sample_rate=plan.sample_rate,
        steps=1,
        delta=delta,
        accountant=privacy.accountant,
        relation=privacy.relation,
    )
    return (
        f"characteristics: every client is charged one step at noise multiplier {noise:g} and sample rate "
        f"{plan.sample_rate:g}, ε = {epsilon:.3g} at δ = {delta:g} per example by itself ({privacy.relation}, "
        f"{privacy.accountant}, {noise_kind(config)} noise), on {config.privacy.ledger}"
    )


def _read(session: _Session, received: Received) -> MeasuredImportance:
    """What the sum says; nothing here looks at anything else."""
    plan, cells, clients = session.plan, session.cells, len(received.survivors)
    total = received.means[0] * clients * plan.nominal_batch
    step = secagg.FixedPoint(clip=plan.codec_clip, bits=plan.codec_bits, max_weight=plan.max_weight).step
    rounding = step * plan.nominal_batch / 2
    stddev = math.sqrt(clients * (plan.noise_multiplier**2 + rounding**2))
    spread = np.clip(total[: cells.modules], 0, None)
    weights = (spread / max(float(spread.sum()), 1e-300)).reshape(len(cells.layers), len(cells.targets))
    labels = np.clip(total[cells.modules :], 0, None) / LABEL_LENGTH / plan.sample_rate
    shares = labels[labels > 0] / labels.sum()
    return MeasuredImportance(
        model=find_model(session.federation.config.model.name).public_name,
        targets=cells.targets,
        weights=tuple(tuple(float(value) for value in row) for row in weights),
        signal_to_noise=max(0.0, float(total[: cells.modules].mean()) / stddev),
        noise_multiplier=plan.noise_multiplier,
        sample_rate=plan.sample_rate,
        clients=clients,
        examples=float(labels.sum()),
        label_entropy=max(0.0, float(-(shares * np.log2(shares)).sum())),
        release=session.federation.run,
    )
