"""What is compared: a name, and what it changes in the configuration."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from fedpeft_secure.aggregation import Reads
from fedpeft_secure.aggregation.choose import STRATEGIES
from fedpeft_secure.aggregation.fed_sb import CORES
from fedpeft_secure.aggregation.rules import goes_straight
from fedpeft_secure.config import Config, TrainingConfig
from fedpeft_secure.config_file import assigned, parse_config
from fedpeft_secure.errors import ConfigError, InputError
from fedpeft_secure.preflight import check

Kind = Literal["federated", "centralised", "local"]

DEFAULT = "default"
"""The arm that the others are measured against: the configuration with the strategy that "auto" chooses."""

PERSONAL = frozenset({"fedsa", "fedper"})
PERSONAL_REASON = (
    "it leaves every client a model of its own, and there is none to test: run it with data.client_test_fraction"
)

BASELINES = ("full", "head", "centralised", "local")

WHOLE: Mapping[str, Any] = {"aggregation.strategy": "fedit", "allocation.ranks": []}
"""Baselines know no ranks of their own for clients."""

FULL_RATE = 0.1
"""Full fine-tuning moves all weights at once: at an adapter's learning rate it diverges."""

ALONE: Mapping[str, Any] = {"training.optimizer": "adamw", "training.learning_rate": 2e-3}
"""For baselines without a server, where the others' server adapts: the rate that suits LoRA on pooled data."""

STRAIGHT: Mapping[str, Any] = {**ALONE, "training.server_optimizer": "sgd", "training.server_learning_rate": 1.0}
"""For strategies that go straight to their answer, where the others' server adapts: there the clients do, as in the
papers of these strategies."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Arm:
    """One way to train.

    Args:
        name: in tables and directories.
        kind: federated, or a baseline without a server: all data in one place, or every client by itself.
        changes: dotted keys of the configuration → their values.
    """

    name: str
    kind: Kind = "federated"
    changes: Mapping[str, Any] = field(default_factory=dict)

    def config(self, base: Config, *, seed: int, attacks: Sequence[str] = ()) -> Config:
        """The configuration of this arm at one seed, with these attacks."""
        tables = base.to_dict()
        for key, value in {**self.changes, "seed": seed, "attacks.run": list(attacks)}.items():
            tables = assigned(tables, key, value, origin=self.name)
        return parse_config(tables)


@dataclass(frozen=True, kw_only=True, slots=True)
class Refused:
    """An arm that cannot run here, and the reason."""

    name: str
    reason: str


def choose_arms(base: Config, names: Sequence[str] = ()) -> tuple[tuple[Arm, ...], tuple[Refused, ...]]:
    """The arms to run, the default first, and those that this configuration refuses.

    Args:
        base: the configuration that they all share.
        names: of strategies and baselines; none for all there are.

    Raises:
        InputError: If there is no such arm, or the default itself is refused.
    """
    known = (DEFAULT, *STRATEGIES, *BASELINES)
    unknown = [name for name in names if name not in known]
    if unknown:
        raise InputError(f"--arm {unknown[0]}: there are {', '.join(known)}")
    check(_arm(DEFAULT, base).config(base, seed=base.seed))
    arms, refused = [], []
    for name in dict.fromkeys((DEFAULT, *(names or known))):
        arm = _arm(name, base)
        if name in PERSONAL:
            refused.append(Refused(name=name, reason=PERSONAL_REASON))
            continue
        try:
            check(arm.config(base, seed=base.seed))
        except ConfigError as error:
            refused.append(Refused(name=name, reason=str(error)))
        else:
            arms.append(arm)
    return tuple(arms), tuple(refused)


def _arm(name: str, base: Config) -> Arm:
    if name == DEFAULT:
        return Arm(name=name, changes={"aggregation.strategy": "auto"})
    if name == "full":
        return Arm(name=name, changes={**WHOLE, "peft.method": "full", **_slower(base.training)})
    if name == "head":
        return Arm(name=name, changes={**WHOLE, "peft.method": "head"})
    if name in BASELINES:
        kind: Kind = "centralised" if name == "centralised" else "local"
        own = ALONE if server_adapts(base.training) else {}
        return Arm(name=name, kind=kind, changes={**WHOLE, **own, "privacy.epsilon": "inf"})
    strategy = STRATEGIES[name]()
    changes = {"aggregation.strategy": name}
    if name == "fed_sb":
        changes["peft.method"] = CORES
    if goes_straight(strategy) and server_adapts(base.training):
        changes |= STRAIGHT
    if strategy.reads is Reads.INDIVIDUAL:
        changes["secure_sum.protocol"] = "plain"
    return Arm(name=name, changes=changes)


def server_adapts(training: TrainingConfig) -> bool:
    """Whether the server's steps have a scale of their own, whatever the clients' is."""
    return training.server_optimizer not in ("sgd", "momentum")


def _slower(training: TrainingConfig) -> dict[str, float]:
    """The learning rate of whoever adapts, for full fine-tuning."""
    key = "server_learning_rate" if server_adapts(training) else "learning_rate"
    return {f"training.{key}": getattr(training, key) * FULL_RATE}
