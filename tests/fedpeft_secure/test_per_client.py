import math
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedpeft_secure.config import ClientTerms
from fedpeft_secure.config_file import dump_config, load_config, parse_config
from fedpeft_secure.errors import ConfigError
from fedpeft_secure.per_client import COLUMNS, read_budgets, resolve


def parsed(per_client: Any, *, clients: int = 8, **privacy: Any) -> dict[str, ClientTerms]:
    tables = {"clients": {"count": clients, "per_round": clients}, "privacy": {"per_client": per_client, **privacy}}
    table = parse_config(tables).privacy.per_client
    assert isinstance(table, dict)
    return table


def error_of(per_client: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        parsed(per_client)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_number_is_an_epsilon_and_a_table_any_terms() -> None:
    table = parsed({"client-3": 2.0, "client-4": "inf", "client-5": {"rounds": 3, "clip_norm": 0.5}})
    assert table["client-3"] == ClientTerms(epsilon=2.0)
    assert table["client-4"].epsilon == math.inf
    assert table["client-5"] == ClientTerms(rounds=3, clip_norm=0.5)


def test_terms_are_written_as_shortly_as_they_were_given() -> None:
    given = {"client-3": 2.0, "client-4": "inf", "client-5": {"epsilon": 1.5, "rounds": 3}}
    config = parse_config({"privacy": {"per_client": given}})
    assert tomllib.loads(dump_config(config))["privacy"]["per_client"] == given


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"client-3": -2}, "privacy.per_client.client-3.epsilon: should be greater than 0, got -2"),
        ({"client-3": {"epsilonn": 2}}, "privacy.per_client.client-3.epsilonn: unknown key; did you mean"),
        ({"client-3": {"rounds": 0}}, "privacy.per_client.client-3.rounds: should be greater than or equal to 1"),
        ({"client-3": {"sample_rate": 1.5}}, "privacy.per_client.client-3.sample_rate: should be less than or equal"),
        ({"client-3": {"noise_multiplier": 0}}, "privacy.per_client.client-3.noise_multiplier: should be greater"),
        ({"client-3": {"delta": 0.5}}, "privacy.per_client.client-3.delta: above 0.01 would allow giving away one"),
        ({"client-3": True}, "privacy.per_client.client-3: should be a"),
        (3, "privacy.per_client: "),
        ({"distribution": "normal"}, "privacy.per_client.distribution: should be 'choice', 'uniform' or 'lognormal'"),
    ],
)
def test_wrong_terms_are_named(given: Any, message: str) -> None:
    assert error_of(given).startswith(message)


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "budgets.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_csv_file_is_read_row_by_row(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "client, epsilon,rounds,noise_multiplier,delta\n\nclient-1,2.5,,,1e-6\nclient-2,,12,1.5,\nclient-3,inf,,,\n",
    )
    assert read_budgets(path) == {
        "client-1": ClientTerms(epsilon=2.5, delta=1e-6),
        "client-2": ClientTerms(rounds=12, noise_multiplier=1.5),
        "client-3": ClientTerms(epsilon=math.inf),
    }


def test_the_resolved_configuration_holds_the_file_s_contents(tmp_path: Path) -> None:
    path = write(tmp_path, "client,epsilon\nclient-1,2.5\n")
    config = load_config(overrides=[f"privacy.per_client={path}"])
    path.unlink()
    again = parse_config(tomllib.loads(dump_config(config)))
    assert again == config
    assert again.epsilon_of("client-1") == 2.5


def test_a_relative_path_is_relative_to_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "client,epsilon\nclient-1,2.5\n")
    monkeypatch.chdir(tmp_path)
    assert parsed("budgets.csv")["client-1"].epsilon == 2.5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty; begin it with a line of column names"),
        ("client,eps\n", "line 1: unknown column 'eps'; the columns are client, epsilon, delta"),
        ("epsilon\n2\n", "line 1: every column must stand there once, and client must"),
        ("client,epsilon,epsilon\n", "line 1: every column must stand there once"),
        ("client,epsilon\nclient-1\n", "line 2: 1 cells for 2 columns; write one cell a column"),
        ("client,epsilon\nclient-1,2\n\n,3\n", "line 4, column client: empty; name the client"),
        ("client,epsilon\nclient-1,2\nclient-1,3\n", "line 3, column client: 'client-1' has a row already"),
        ("client,epsilon\nclient-1,two\n", "line 2, column epsilon: 'two' is not a number; correct it or leave"),
        ("client,rounds\nclient-1,2.5\n", "line 2, column rounds: '2.5' is not a whole number"),
        ("client,epsilon\nclient-1,-2\n", "line 2, column epsilon: should be greater than 0, got '-2'; correct it"),
        ("client,epsilon\nclient-1,nan\n", "line 2, column epsilon: 'nan' is not a number; correct it"),
        ("client,epsilon\nclient-1,1e999\n", "line 2, column epsilon: '1e999' is not a number"),
        ("client,epsilon\nclient-1,Infinity\n", "line 2, column epsilon: 'Infinity' is not a number"),
        ("client,epsilon\nclient-1,1_0\n", "line 2, column epsilon: '1_0' is not a number"),
        ("client,rounds\nclient-1,٣\n", "line 2, column rounds: '٣' is not a whole number"),
        ("client,delta\nclient-1,inf\n", "line 2, column delta: should be"),
        ("client,delta\nclient-1,0.5\n", "line 2, column delta: above 0.01 would allow"),
        ('client,epsilon\n"client-1,2\n', "is no CSV file in UTF-8: unexpected end of data"),
    ],
)
def test_a_wrong_file_is_refused_by_line_and_column(text: str, message: str, tmp_path: Path) -> None:
    path = write(tmp_path, text)
    found = error_of(str(path))
    assert found.startswith(f"privacy.per_client: {path}")
    assert message in found


def test_a_missing_file() -> None:
    assert error_of("nowhere.csv") == (
        "privacy.per_client: nowhere.csv: No such file or directory; give an existing CSV file "
        "(the path is relative to the working directory)"
    )


def test_every_column_is_a_term() -> None:
    assert set(COLUMNS) - {"client"} == set(ClientTerms.model_fields) - {"groups"}


def drawn(distribution: dict[str, Any], *, clients: int = 400, seed: int = 0) -> np.ndarray:
    tables = {
        "seed": seed,
        "clients": {"count": clients, "per_round": clients},
        "privacy": {"per_client": distribution},
    }
    config = parse_config(tables)
    return np.array([config.epsilon_of(client) for client in config.client_names])


def test_a_choice_has_its_shares() -> None:
    values = drawn({"distribution": "choice", "values": [1, 3, 8], "shares": [0.5, 0.3, 0.2]})
    assert set(values) == {1.0, 3.0, 8.0}
    for value, share in ((1.0, 0.5), (3.0, 0.3), (8.0, 0.2)):
        assert np.mean(values == value) == pytest.approx(share, abs=0.08)


def test_equal_shares_unless_given() -> None:
    assert np.mean(drawn({"distribution": "choice", "values": [1, 8]}) == 1.0) == pytest.approx(0.5, abs=0.08)


def test_a_uniform_budget_lies_between_its_bounds() -> None:
    values = drawn({"distribution": "uniform", "low": 1.0, "high": 9.0})
    assert 1.0 <= values.min() < 1.3
    assert 8.7 < values.max() <= 9.0
    assert values.mean() == pytest.approx(5.0, abs=0.4)


def test_a_lognormal_budget_has_its_median_in_the_middle_of_the_logarithms() -> None:
    values = drawn({"distribution": "lognormal", "low": 1.0, "high": 9.0})
    assert values.min() >= 1.0
    assert values.max() <= 9.0
    assert np.median(values) == pytest.approx(3.0, rel=0.1)
    assert np.std(np.log(values)) == pytest.approx(math.log(9) / 4 * 0.88, rel=0.15)


def test_draws_follow_the_seed_and_each_client_has_its_own() -> None:
    distribution = {"distribution": "uniform", "low": 1.0, "high": 9.0}
    assert (drawn(distribution, clients=9) == drawn(distribution, clients=20)[:9]).all()
    assert (drawn(distribution, clients=9) != drawn(distribution, clients=9, seed=1)).any()


def test_drawn_budgets_are_written_out() -> None:
    config = parse_config({"privacy": {"per_client": {"distribution": "uniform", "low": 1.0, "high": 9.0}}})
    written = tomllib.loads(dump_config(config))["privacy"]["per_client"]
    assert written == {client: config.epsilon_of(client) for client in config.client_names}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"distribution": "choice"}, "takes values and"),
        ({"distribution": "choice", "values": [1], "low": 1.0}, "not low and high"),
        ({"distribution": "choice", "values": [1, 2], "shares": [1.0]}, "one share for each of 2 values, adding up to"),
        ({"distribution": "choice", "values": [1, 2], "shares": [0.5, 0.4]}, "adding up to 1"),
        ({"distribution": "uniform", "low": 1.0}, "takes low and high, 0 < low < high, and nothing else"),
        ({"distribution": "lognormal", "low": 2.0, "high": 1.0}, "takes low and high, 0 < low < high"),
        ({"distribution": "uniform", "low": 1.0, "high": 2.0, "values": [1]}, "and nothing else"),
    ],
)
def test_an_incomplete_distribution_is_refused(given: dict[str, Any], message: str) -> None:
    found = error_of(given)
    assert found.startswith(f"privacy.per_client: distribution '{given['distribution']}'")
    assert message in found


def test_a_table_stays_as_it_is() -> None:
    config = parse_config({"privacy": {"per_client": {"client-1": 2.0}}})
    assert resolve(config) is config
