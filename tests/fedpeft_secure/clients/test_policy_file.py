from collections.abc import Callable
from pathlib import Path

import pytest

from fedpeft_secure.clients.policy_file import PolicyFile
from fedpeft_secure.config import Config
from fedpeft_secure.errors import InputError, PolicyError
from fedpeft_secure.plans import RoundPlan
from fedpeft_secure.version import __version__

MakeConfig = Callable[..., Config]
SECURE = {"privacy.noise": "secure"}


def test_the_default_run_with_secure_noise_is_allowed_by_the_default_policy(tiny_config: MakeConfig) -> None:
    PolicyFile().check_run(tiny_config(SECURE), client="client-1", version=__version__)


def test_simulation_noise_is_not(tiny_config: MakeConfig) -> None:
    with pytest.raises(PolicyError, match="client-1 refuses the run: noise from a seed is not allowed"):
        PolicyFile().check_run(tiny_config(), client="client-1", version=__version__)


@pytest.mark.parametrize(
    ("overrides", "because"),
    [
        ({"privacy.epsilon": 9.0}, "ε = 9 is above 8 for one run; ε = 9 is above 8 for all runs"),
        ({"privacy.epsilon": "inf"}, "ε = inf is above 8"),
        ({"privacy.per_client": {"client-1": 20.0}}, "ε = 20 is above 8"),
        ({"privacy.delta": 1e-4}, "δ = 0.0001 is above 1e-05"),
        ({"secure_sum.server": "curious"}, "the run trusts the server, this client does not"),
        ({"secure_sum.protocol": "plain"}, "protocol 'plain' is not allowed"),
        ({"peft.method": "full"}, "PEFT method 'full' is not allowed"),
    ],
)
def test_a_weaker_run_is_refused(overrides: dict[str, object], because: str, tiny_config: MakeConfig) -> None:
    with pytest.raises(PolicyError, match=because):
        PolicyFile().check_run(tiny_config({**SECURE, **overrides}), client="client-1", version=__version__)


def test_a_stranger_to_the_run_and_another_version_refuse(tiny_config: MakeConfig) -> None:
    with pytest.raises(PolicyError, match="client-9 is not among the run's 5 clients; version 7 is not allowed"):
        PolicyFile().check_run(tiny_config(SECURE), client="client-9", version="7")


def test_code_of_somebody_else_runs_only_where_it_is_named(tiny_config: MakeConfig) -> None:
    config = tiny_config({**SECURE, "aggregation.strategy": "theirs:Strategy"})
    with pytest.raises(PolicyError, match="'theirs:Strategy' is not allowed"):
        PolicyFile().check_run(config, client="client-1", version=__version__)
    PolicyFile(strategies=("theirs:Strategy",)).check_run(config, client="client-1", version=__version__)


def test_models_go_by_their_digest() -> None:
    policy = PolicyFile(models=("ab" * 32,))
    policy.check_model("ab" * 32, client="client-1", expected="ab" * 32)
    with pytest.raises(PolicyError, match=r"base model cdcd.* is not among the allowed models"):
        policy.check_model("cd" * 32, client="client-1", expected="cd" * 32)
    with pytest.raises(PolicyError, match=r"its base model is abab.*, the server's is cdcd"):
        policy.check_model("ab" * 32, client="client-1", expected="cd" * 32)


def test_every_round_is_held_to_the_same_terms(tiny_config: MakeConfig, make_plan: Callable[..., RoundPlan]) -> None:
    policy = PolicyFile(epsilon_per_run=4.0, epsilon_total=6.0, min_cohort=5)
    found = policy.client_policy(tiny_config(SECURE), "client-1", agreed=make_plan())
    assert (found.max_epsilon, found.max_total_epsilon, found.min_cohort) == (4.0, 6.0, 5)
    assert found.protocols == {"masked"}
    assert not found.trusts_server


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("min_cohrt = 3", "min_cohrt: Extra inputs"),
        ("min_cohort = 1", "min_cohort: Input should be greater"),
        ('models = ["short"]', "models.0: String should match"),
        ("= 3", "is no valid TOML"),
    ],
)
def test_a_wrong_policy_names_its_key(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        PolicyFile.load(path)


def test_a_missing_policy_is_no_permission(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        PolicyFile.load(tmp_path / "none.toml")
