"""A client's policy as a TOML file: what its owner allows, whoever asks, checked before anything is loaded."""

import tomllib
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fedpeft_secure.budgets import epsilon_limit, noise_kind
from fedpeft_secure.clients.policy import ClientPolicy
from fedpeft_secure.config import Config
from fedpeft_secure.errors import InputError, PolicyError
from fedpeft_secure.plans import RoundPlan
from fedpeft_secure.version import __version__

Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class PolicyFile(BaseModel):
    """The terms of one client's owner; every key has a careful default, an unknown one is an error.

    Args:
        min_cohort: fewest clients that a sum may hide it among.
        adversarial_fraction: share of all clients that the sum must bear being corrupt.
        epsilon_per_run: the largest budget of one run.
        epsilon_total: the most that all runs on this client's ledger may spend together.
        delta: the largest δ of a budget.
        protocols: the secure sums that it takes part in.
        trust_server: whether protocols that a lying server breaks are allowed, and noise that it is to add itself.
        simulation_noise: whether noise from a seed is: it protects nothing, and is for tests.
        methods: PEFT methods that it trains; code of somebody else's only where it is named here.
        strategies: aggregation strategies by name, and those of somebody else's code; empty for all built-in ones.
        models: digests of base models; empty for any.
        versions: of this software, at the server.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=True)

    min_cohort: Annotated[int, Field(ge=2)] = 3
    adversarial_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.1
    epsilon_per_run: Annotated[float, Field(gt=0)] = 8.0
    epsilon_total: Annotated[float, Field(gt=0)] = 8.0
    delta: Annotated[float, Field(gt=0, lt=1)] = 1e-5
    protocols: tuple[str, ...] = ("masked",)
    trust_server: bool = False
    simulation_noise: bool = False
    methods: tuple[str, ...] = (
        "lora",
        "rslora",
        "dora",
        "vera",
        "lora_xs",
        "ia3",
        "adapter",
        "bitfit",
        "prefix",
        "prompt",
        "head",
    )
    strategies: tuple[str, ...] = ()
    models: tuple[Digest, ...] = ()
    versions: tuple[str, ...] = (__version__,)

    @classmethod
    def load(cls, path: Path) -> "PolicyFile":
        """Reads a policy.

        Raises:
            InputError: Names the file, the key and what is wrong.
        """
        try:
            return cls.model_validate(tomllib.loads(path.read_text("utf-8")))
        except OSError as error:
            raise InputError(f"policy {path}: {error.strerror}; give an existing TOML file") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise InputError(f"policy {path} is no valid TOML: {error}") from None
        except ValidationError as error:
            problem = error.errors(include_url=False)[0]
            key = ".".join(str(part) for part in problem["loc"])
            raise InputError(f"policy {path}: {key}: {problem['msg']}") from None

    def check_run(self, config: Config, *, client: str, version: str) -> None:
        """Refuses a run before its model or code is loaded.

        Raises:
            PolicyError: Names every term that is violated.
        """
        broken = [term for refused, term in self._terms(config, client, version) if refused]
        if broken:
            raise PolicyError(f"{client} refuses the run: {'; '.join(broken)}")

    def check_model(self, digest: str, *, client: str, expected: str) -> None:
        """Refuses a base model that is not allowed, or not the one that the server has.

        Raises:
            PolicyError: Names its digest.
        """
        if self.models and digest not in self.models:
            raise PolicyError(f"{client} refuses the run: base model {digest} is not among the allowed models")
        if digest != expected:
            raise PolicyError(f"{client} refuses the run: its base model is {digest}, the server's is {expected}")

    def client_policy(self, config: Config, client: str, *, agreed: RoundPlan) -> ClientPolicy:
        """What every round's plan is held to."""
        return ClientPolicy(
            min_cohort=self.min_cohort,
            adversarial_fraction=self.adversarial_fraction,
            max_epsilon=min(self.epsilon_per_run, epsilon_limit(config, client)),
            max_total_epsilon=self.epsilon_total,
            protocols=frozenset(self.protocols),
            trusts_server=self.trust_server,
            agreed=agreed,
        )

    def _terms(self, config: Config, client: str, version: str) -> tuple[tuple[bool, str], ...]:
        """Pairs of (violated, in words), the cheap and the public ones."""
        known = client in config.client_names
        epsilon = epsilon_limit(config, client) if known else 0.0
        delta = (config.terms_of(client).delta or config.privacy.delta) if known else 0.0
        sums, strategy = config.secure_sum, config.aggregation.strategy
        return (
            (not known, f"{client} is not among the run's {config.clients.count} clients"),
            (version not in self.versions, f"version {version} is not allowed"),
            (sums.protocol not in self.protocols, f"protocol {sums.protocol!r} is not allowed"),
            (sums.min_cohort < self.min_cohort, f"min_cohort {sums.min_cohort} is below {self.min_cohort}"),
            (
                sums.adversarial_fraction < self.adversarial_fraction,
                f"adversarial_fraction {sums.adversarial_fraction:g} is below {self.adversarial_fraction:g}",
            ),
            (sums.server == "curious" and not self.trust_server, "the run trusts the server, this client does not"),
            (
                config.privacy.mechanism == "central" and not self.trust_server,
                "the run trusts the server with the noise, this client does not",
            ),
            (epsilon > self.epsilon_per_run, f"ε = {epsilon:g} is above {self.epsilon_per_run:g} for one run"),
            (epsilon > self.epsilon_total, f"ε = {epsilon:g} is above {self.epsilon_total:g} for all runs"),
            (delta > self.delta, f"δ = {delta:g} is above {self.delta:g}"),
            (noise_kind(config) == "simulation" and not self.simulation_noise, "noise from a seed is not allowed"),
            (config.peft.method not in self.methods, f"PEFT method {config.peft.method!r} is not allowed"),
            (not self._takes(strategy), f"aggregation strategy {strategy!r} is not allowed"),
        )

    def _takes(self, strategy: str) -> bool:
        return strategy in self.strategies or (not self.strategies and ":" not in strategy)
