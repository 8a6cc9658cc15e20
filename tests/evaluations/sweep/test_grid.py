import math
from pathlib import Path

import pytest

from evaluations.sweep.grid import absolute_ledger, parse_axes, plan_grid, value_text
from fedpeft_secure.errors import ConfigError, InputError


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("privacy.epsilon=1,3,8,inf", (1, 3, 8, "inf")),
        ("privacy.epsilon = 0.5 , 2 ", (0.5, 2)),
        ("aggregation.strategy=fedit,fedsvd", ("fedit", "fedsvd")),
        ('aggregation.strategy="fedit"', ("fedit",)),
        ('attacks.run=[],["span"]', ([], ["span"])),
        ("training.control_variates=true,false", (True, False)),
        ("data.name=a.csv,b.csv", ("a.csv", "b.csv")),
        ("data.partition={scheme='iid'},{alpha=0.3}", ({"scheme": "iid"}, {"alpha": 0.3})),
    ],
)
def test_values_are_toml_or_words(text: str, values: tuple[object, ...]) -> None:
    (axis,) = parse_axes([text])
    assert axis.values == values
    assert axis.key == text.partition("=")[0].strip()


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        ([], "say what the sweep is over, for example"),
        (["privacy.epsilon"], "write KEY=V1,V2,..."),
        (["=1,2"], "write KEY=V1,V2,..."),
        (["privacy.epsilon="], "write KEY=V1,V2,..."),
        (["aggregation.strategy=fedit,,ffa"], "a value is empty"),
        (["peft.rank=4,4"], "a value comes twice"),
        (["peft.rank=4", "peft.rank=8"], "given twice"),
        (["seed=0,1"], "use --seeds N"),
    ],
)
def test_what_cannot_be_read_names_the_option_and_the_remedy(texts: list[str], words: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_axes(texts)
    assert str(caught.value).startswith("--over")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("over", "words"),
    [
        ("privacy.epsilonn=1,3", ("--over privacy.epsilonn=1: privacy.epsilonn: unknown key", "'privacy.epsilon'")),
        ("peft.rank=4,many", ("--over peft.rank=many", "integer")),
        ("peft.rank=4,0", ("--over peft.rank=0", "greater than or equal to 1")),
        ("clients.per_round=8,9", ("--over clients.per_round=9", "lower it or raise clients.count")),
        ("peft.rank.deep=1", ("--over peft.rank.deep", "a value, not a table")),
    ],
)
def test_a_key_or_value_that_can_never_run_is_refused_in_one_line(over: str, words: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError) as caught:
        plan_grid({"peft": {"rank": 4}}, parse_axes([over]), [0])
    assert "\n" not in str(caught.value)
    assert all(word in str(caught.value) for word in words), caught.value


def test_values_that_cannot_go_together_are_refused_and_the_rest_runs() -> None:
    axes = parse_axes(["clients.count=8,4", "clients.per_round=8,4"])
    grid = plan_grid({"secure_sum": {"protocol": "helper"}}, axes, [0, 1])
    assert [one.values for one in grid.refused] == [{"clients.count": 4, "clients.per_round": 8}]
    assert "8 of 4 clients cannot take part" in grid.refused[0].reason
    assert len(grid.cells) == 6


def test_cells_of_a_seed_stand_together_and_differ_in_nothing_but_what_they_name() -> None:
    grid = plan_grid({"training": {"rounds": 3}}, parse_axes(["privacy.epsilon=1,inf", "peft.rank=4,8"]), [5, 6])
    assert [cell.seed for cell in grid.cells] == [5] * 4 + [6] * 4
    assert [(cell.config.privacy.epsilon, cell.config.peft.rank) for cell in grid.cells[:4]] == [
        (1, 4), (1, 8), (math.inf, 4), (math.inf, 8),
    ]  # fmt: skip
    assert all(cell.config.training.rounds == 3 for cell in grid.cells)
    assert all(cell.config.seed == cell.seed for cell in grid.cells)


def test_a_cells_name_says_what_it_is_and_changes_with_any_setting() -> None:
    axes = parse_axes(["privacy.epsilon=1,8", 'data.name="../a b.csv"'])
    (one, two) = plan_grid({}, axes, [0]).cells
    other = plan_grid({"training": {"rounds": 3}}, axes, [0]).cells[0]
    assert one.name.startswith("epsilon=1_name=..-a-b.csv_seed=0-")
    assert len({one.name, two.name, other.name}) == 3
    assert all(Path(cell.name).name == cell.name for cell in (one, two, other))


def test_every_seed_draws_budgets_for_itself() -> None:
    drawn = {"privacy": {"per_client": {"distribution": "uniform", "low": 1.0, "high": 8.0}}}
    one, two = plan_grid(drawn, parse_axes(["peft.rank=4"]), [0, 1]).cells
    assert one.config.privacy.per_client != two.config.privacy.per_client


@pytest.mark.parametrize(("value", "text"), [(3.0, "3"), ("fedit", "fedit"), ([1, 2], "[1, 2]"), (True, "true")])
def test_values_read_as_they_were_typed(value: object, text: str) -> None:
    assert value_text(value) == text


def test_a_shared_ledger_keeps_its_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert absolute_ledger({"privacy": {"ledger": "a.sqlite"}}) == {"privacy": {"ledger": str(tmp_path / "a.sqlite")}}
    assert absolute_ledger({"privacy": {"ledger": "run"}, "seed": 1}) == {"privacy": {"ledger": "run"}, "seed": 1}
    assert absolute_ledger({}) == {}
