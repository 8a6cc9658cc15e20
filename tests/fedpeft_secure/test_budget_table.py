import json
import math
import re
from collections.abc import Callable

import pytest
from rich.console import Console

from fedpeft_secure import Config
from fedpeft_secure.budget_table import budget_rows, budget_table, trained_values
from fedpeft_secure.budgets import plan_budgets
from fedpeft_secure.errors import ConfigError

MakeConfig = Callable[..., Config]


def shown(config: Config) -> str:
    console = Console(width=160, record=True, file=open("/dev/null", "w"))  # noqa: PTH123, SIM115
    console.print(budget_table(config, budget_rows(config)))
    console.file.close()
    return console.export_text()


def test_a_row_a_client_with_its_plan(tiny_config: MakeConfig) -> None:
    config = tiny_config({"privacy.per_client": {"client-2": 2.0}})
    rows, budgets = budget_rows(config), plan_budgets(config)
    assert [row.client for row in rows] == list(config.client_names)
    for row, budget in zip(rows, budgets, strict=True):
        assert (row.epsilon_budget, row.epsilon_planned) == (budget.epsilon, budget.epsilon_planned)
        assert (row.noise_multiplier, row.sample_rate, row.steps) == (budget.noise_multiplier, 0.25, 2)
        assert row.signal_to_noise == budget.signal_to_noise(dim=trained_values(config), nominal_batch=10)
        assert row.signal_to_noise_of_sum == pytest.approx(row.signal_to_noise * math.sqrt(5))


@pytest.mark.parametrize(("strategy", "values"), [("fedit", 578), ("ffa", 322)])
def test_the_number_of_values_is_what_clients_would_send(strategy: str, values: int, tiny_config: MakeConfig) -> None:
    """Two layers × (query, value) × rank 2 × (32 + 32) for B and A, and a head of 2 × 32 + 2."""
    assert values == 4 * 2 * 32 * (2 if strategy == "fedit" else 1) + 66
    assert trained_values(tiny_config({"aggregation.strategy": strategy})) == values


def test_rows_are_json_without_bare_infinity(tiny_config: MakeConfig) -> None:
    rows = budget_rows(tiny_config({"privacy.epsilon": "inf"}))
    written = json.loads(json.dumps([row.model_dump(mode="json") for row in rows], allow_nan=False))
    assert written[0]["epsilon_budget"] == written[0]["signal_to_noise"] == "inf"


def test_the_table_says_what_every_epsilon_means(tiny_config: MakeConfig) -> None:
    text = shown(tiny_config({"privacy.per_client": {"client-2": 2.0}}))
    for word in ("client-5", "unit: example", "relation: add_remove", "accountant: rdp", "noise: simulation", "1e-05"):
        assert word in " ".join(text.split())
    assert len([line for line in text.splitlines() if re.match(r" *client-\d  ", line)]) == 5
    assert "client-2: its noise is 57 % of the variance of the sum" in " ".join(text.split())
    assert "client-2 has the lowest SNR" in text


def test_no_budget_is_shown_as_infinite(tiny_config: MakeConfig) -> None:
    text = shown(tiny_config({"privacy.epsilon": "inf"}))
    assert "∞" in text
    assert "noise: none" in " ".join(text.split())


def test_what_cannot_run_is_refused_before_anything_is_loaded(tiny_config: MakeConfig) -> None:
    config = tiny_config({"clients.per_round": 6, "model.name": "/no/such/folder"})
    with pytest.raises(ConfigError, match=r"clients\.per_round"):
        budget_rows(config)
