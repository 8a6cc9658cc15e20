from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

import dp
from fedpeft_secure import Config
from fedpeft_secure.budgets import plan_budgets
from fedpeft_secure.ledger_table import ledger_rows, ledger_table

MakeConfig = Callable[..., Config]
EVENT = dp.SampledGaussian(noise_multiplier=1.0, sample_rate=0.25, steps=2)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Two runs of client-10 and one of client-2, the second with groups."""
    path = tmp_path / "ledger.sqlite"
    budget = dp.PrivacyBudget(epsilon=20.0, delta=1e-5)
    grouped = dp.PrivacyBudget(epsilon=20.0, delta=1e-5, groups=(("open", 20.0), ("strict", 10.0)))
    groups = dp.GroupedGaussian(noise_multiplier=1.0, groups=(("open", 0.25), ("strict", 0.05)), steps=3)
    with dp.Ledger.open(path) as ledger:
        for number, run in enumerate(("first", "second"), start=1):
            ledger.charge(
                client="client-10",
                release=dp.ReleaseId(run=run, round=number),
                event=EVENT,
                budget=budget,
                contribution=b"12345",
                accountant="rdp",
            )
        ledger.charge(
            client="client-2",
            release=dp.ReleaseId(run="second", round=1),
            event=groups,
            budget=grouped,
            contribution=b"123",
            accountant="rdp",
        )
    return path


def test_a_row_a_client_says_all_that_was_charged(path: Path) -> None:
    two, ten = ledger_rows(path)
    assert (two.client, ten.client) == ("client-2", "client-10")
    assert (ten.runs, ten.charges, ten.steps, ten.contribution_bytes) == (2, 2, 4, 10)
    assert (ten.epsilon_budget, ten.delta, ten.unit, ten.relation, ten.accountant) == (
        20.0, 1e-5, "example", "add_remove", "rdp",
    )  # fmt: skip
    assert ten.epsilon_spent == dp.epsilon(
        noise_multiplier=1.0, sample_rate=0.25, steps=4, delta=1e-5, accountant="rdp"
    )
    assert ten.left is None


def test_groups_are_listed_and_the_worst_is_the_clients(path: Path) -> None:
    two = ledger_rows(path)[0]
    spent = {group.group: group.epsilon_spent for group in two.groups}
    assert two.epsilon_spent == spent["open"] > spent["strict"] > 0
    assert {group.group: group.epsilon_budget for group in two.groups} == {"open": 20.0, "strict": 10.0}


def test_a_configuration_says_what_is_left_of_its_plan(path: Path, tiny_config: MakeConfig) -> None:
    config = tiny_config({"clients.count": 10, "clients.per_round": 10, "training.rounds": 6, "privacy.epsilon": 12.0})
    rows = {row.client: row for row in ledger_rows(path, config)}
    assert list(rows) == list(config.client_names)
    for name in ("client-1", "client-3"):
        assert (rows[name].charges, rows[name].epsilon_spent) == (0, 0.0)
        assert rows[name].left is not None
        assert rows[name].left.rounds_affordable == rows[name].left.rounds_planned == 6
    left, plan = rows["client-10"].left, plan_budgets(config)[9]
    assert left is not None
    assert left.epsilon_left == pytest.approx(12.0 - rows["client-10"].epsilon_spent)
    own = {"noise_multiplier": plan.noise_multiplier, "sample_rate": 0.25}
    history = (EVENT, EVENT)
    for rounds, fits in ((left.rounds_affordable, True), (left.rounds_affordable + 1, False)):
        event = dp.SampledGaussian(**own, steps=rounds)
        assert (dp.compose((*history, event), delta=1e-5, accountant="rdp") <= 12.0) is fits
    assert 0 < left.rounds_affordable < 6


def test_clients_of_other_plans_are_shown_too(path: Path, tiny_config: MakeConfig) -> None:
    rows = ledger_rows(path, tiny_config())
    assert [row.client for row in rows][-1] == "client-10"
    assert rows[-1].left is None


def test_reading_changes_nothing(path: Path) -> None:
    before = path.read_bytes()
    ledger_rows(path)
    assert path.read_bytes() == before


def test_a_missing_or_broken_ledger_is_refused(tmp_path: Path, path: Path) -> None:
    with pytest.raises(dp.LedgerError, match="there is no ledger at"):
        ledger_rows(tmp_path / "none.sqlite")
    path.write_bytes(
        path.read_bytes().replace(b'"steps":2', b'"steps":1', 1).replace(b'\\"steps\\":2', b'\\"steps\\":1', 1)
    )
    with pytest.raises(dp.LedgerError):
        ledger_rows(path)


def test_the_table_says_what_every_epsilon_means(path: Path, tiny_config: MakeConfig) -> None:
    config = tiny_config({"clients.count": 10, "clients.per_round": 10, "training.rounds": 6, "privacy.epsilon": 12.0})
    rows = ledger_rows(path, config)
    console = Console(width=160, record=True, file=open("/dev/null", "w"))  # noqa: PTH123, SIM115
    console.print(ledger_table(path, rows))
    console.file.close()
    text = " ".join(console.export_text().split())
    for words in (
        "client-10",
        "unit: example; relation: add_remove; accountant: rdp; δ = 1e-05",
        "of 6",
        "rounds left",
    ):
        assert words in text
