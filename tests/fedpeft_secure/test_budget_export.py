import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from fedpeft_secure import Config
from fedpeft_secure.budget_export import export_plan
from fedpeft_secure.budget_table import budget_rows
from fedpeft_secure.budgets import plan_budgets
from fedpeft_secure.errors import ConfigError, InputError
from fedpeft_secure.per_client import resolve

MakeConfig = Callable[..., Config]
TERMS = {
    "client-1": 2.0,
    "client-2": {"noise_multiplier": 1.5, "rounds": 1},
    "client-3": {"epsilon": 3.3, "delta": 1e-6, "sample_rate": 0.1, "clip_norm": 0.7},
}


def fed_back(config: Config, path: Path) -> Config:
    privacy = config.privacy.model_copy(update={"per_client": str(path)})
    return resolve(config.model_copy(update={"privacy": privacy}))


def test_an_exported_plan_gives_the_same_plan_again(tiny_config: MakeConfig, tmp_path: Path) -> None:
    config = tiny_config({"privacy.per_client": TERMS})
    path = tmp_path / "plan.csv"
    export_plan(path, config, budget_rows(config))
    for before, after in zip(plan_budgets(config), plan_budgets(fed_back(config, path)), strict=True):
        for field in ("client", "epsilon", "delta", "noise_multiplier", "sample_rate", "steps", "epsilon_planned"):
            assert getattr(after, field) == getattr(before, field)
        assert after.clip_norm == (before.clip_norm or config.privacy.clip_norm)
        assert after.rounds == before.rounds


def test_under_settings_that_would_overspend_it_is_refused(tiny_config: MakeConfig, tmp_path: Path) -> None:
    config = tiny_config({"privacy.per_client": TERMS})
    path = tmp_path / "plan.csv"
    export_plan(path, config, budget_rows(config))
    longer = tiny_config({"training.rounds": 20})
    with pytest.raises(
        ConfigError, match=r"privacy.per_client: client-1's noise_multiplier = .* above its epsilon = 2"
    ):
        plan_budgets(fed_back(longer, path))


def test_without_budgets_too(tiny_config: MakeConfig, tmp_path: Path) -> None:
    config = tiny_config({"privacy.epsilon": "inf"})
    export_plan(tmp_path / "plan.csv", config, budget_rows(config))
    rows = csv.DictReader((tmp_path / "plan.csv").read_text().splitlines())
    assert {row["epsilon"] for row in rows} == {"inf"}
    assert not any(budget.private for budget in plan_budgets(fed_back(config, tmp_path / "plan.csv")))


def test_json_holds_everything(tiny_config: MakeConfig, tmp_path: Path) -> None:
    config = tiny_config({"privacy.per_client": TERMS})
    rows = budget_rows(config)
    export_plan(tmp_path / "plan.json", config, rows)
    assert json.loads((tmp_path / "plan.json").read_text()) == [row.model_dump(mode="json") for row in rows]


@pytest.mark.parametrize("name", ["plan.txt", "there.csv", "no/such/folder/plan.csv"])
def test_nothing_is_overwritten_and_nothing_half_written(name: str, tiny_config: MakeConfig, tmp_path: Path) -> None:
    config = tiny_config()
    (tmp_path / "there.csv").write_text("mine")
    with pytest.raises(InputError, match=r"--export .*; give a"):
        export_plan(tmp_path / name, config, budget_rows(config))
    assert (tmp_path / "there.csv").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["there.csv"]
