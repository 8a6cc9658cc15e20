import json
import shutil
from pathlib import Path

import pytest

import dp
from attacks.audit import replay_ledger
from fedpeft_secure.accounts import Account
from fedpeft_secure.errors import RunDirectoryError
from fedpeft_secure.events import ignore
from fedpeft_secure.plans import RoundPlan
from fedpeft_secure.result import ClientPrivacy
from fedpeft_secure.server.job import finish, training_run
from tests.fedpeft_secure.conftest import MakeConfig

Changes = dict[str, object]


@pytest.fixture(scope="module")
def finished(tiny_config: MakeConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("runs") / "honest"
    train(tiny_config, root)
    return root


def train(tiny_config: MakeConfig, root: Path, overrides: Changes | None = None) -> None:
    from evaluations.metrics import classification

    config = tiny_config({"attacks.run": [], **(overrides or {})})
    with training_run(config, root, resume=False, listen=ignore) as trained:
        finish(trained, measure=classification, attack=lambda run, listen: (), listen=ignore)


def change_result(root: Path, changes: Changes) -> None:
    """Edits the row of client-1 in result.json."""
    path = root / "result.json"
    result = json.loads(path.read_text())
    row = result["privacy"]["clients"][0]
    assert set(changes) <= set(ClientPrivacy.model_fields)
    result["privacy"]["clients"][0] = {**row, **changes}
    path.write_text(json.dumps(result))


def test_an_honest_run_has_no_problems(finished: Path) -> None:
    assert replay_ledger(finished) == ()


def test_clients_with_fewer_steps_of_their_own_have_no_problems(tiny_config: MakeConfig, tmp_path: Path) -> None:
    """A slow device is dealt fewer steps, takes them, and is charged for them."""
    devices = {f"client-{index}": {"memory_mib": 500, "gflops": 0.3 if index == 1 else 50} for index in range(1, 6)}
    train(
        tiny_config,
        tmp_path / "run",
        {
            "allocation.strategy": "adaptive",
            "allocation.devices": devices,
            "allocation.round_seconds": 0.1,
            "training.physical_batch": 4,
            "training.local_steps": 4,
        },
    )
    rows = json.loads((tmp_path / "run" / "result.json").read_text())["privacy"]["clients"]
    assert rows[0]["steps"] < rows[1]["steps"]
    assert replay_ledger(tmp_path / "run") == ()


@pytest.mark.slow
def test_client_level_runs_and_runs_without_a_budget_replay_too(tiny_config: MakeConfig, tmp_path: Path) -> None:
    for name, overrides in {"client": {"privacy.unit": "client"}, "open": {"privacy.epsilon": "inf"}}.items():
        train(tiny_config, tmp_path / name, overrides)  # type: ignore[arg-type]
        assert replay_ledger(tmp_path / name) == ()


def test_steps_that_were_taken_and_not_charged_are_found(
    tiny_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cheap(self: Account, plan: RoundPlan) -> dp.PrivacyEvent:
        return dp.SampledGaussian(
            noise_multiplier=self.budget.noise_multiplier, sample_rate=plan.sample_rate, steps=plan.local_steps - 1
        )

    monkeypatch.setattr(Account, "event", cheap)
    train(tiny_config, tmp_path / "run", {"training.local_steps": 3})
    problems = replay_ledger(tmp_path / "run")
    assert "client-1: round 1 took 3 steps and was charged for 2" in problems


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"noise_multiplier": 0.1}, "was charged for noise of"),
        ({"sample_rate": 0.9}, "was charged at the rate 0.25, it sampled at 0.9"),
        ({"steps": 7}, "the result says 7 steps, the ledger 2"),
        ({"epsilon_spent": 0.5}, "the result says ε = 0.5, its charges make"),
    ],
)
def test_a_result_that_says_less_than_the_ledger_is_found(
    finished: Path, tmp_path: Path, changes: Changes, words: str
) -> None:
    root = tmp_path / "run"
    shutil.copytree(finished, root)
    change_result(root, changes)
    assert any(words in problem for problem in replay_ledger(root))


def test_a_round_that_was_never_charged_and_a_ledger_that_was_cut_off_are_found(finished: Path, tmp_path: Path) -> None:
    root = tmp_path / "run"
    shutil.copytree(finished, root)
    lines = (root / "rounds.jsonl").read_text().splitlines()
    further = json.loads(lines[-1])
    further["round"], further["ledger"]["charges"] = 3, 15
    (root / "rounds.jsonl").write_text("\n".join([*lines, json.dumps(further)]) + "\n")
    problems = replay_ledger(root)
    assert "round 3: the ledger does not hold the charges that it held then" in problems
    assert "client-5: round 3 was never charged" in problems


def test_an_unfinished_run_cannot_be_replayed(tmp_path: Path) -> None:
    with pytest.raises(RunDirectoryError):
        replay_ledger(tmp_path)
