from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import dp
from fedpeft_secure.accounts import Account
from fedpeft_secure.budgets import ClientBudget
from fedpeft_secure.config import PrivacyConfig
from fedpeft_secure.plans import RoundPlan

MakePlan = Callable[..., RoundPlan]
BUDGET = ClientBudget(
    client="client-1", epsilon=2.0, delta=1e-5, noise_multiplier=3.0, sample_rate=0.25, steps=4, epsilon_planned=2.0
)


@pytest.fixture
def account(tmp_path: Path) -> Iterator[Account]:
    with dp.Ledger.open(tmp_path / "ledger.sqlite") as ledger:
        yield Account(client="client-1", budget=BUDGET, privacy=PrivacyConfig(accountant="rdp"), ledger=ledger)


def rounds_of(account: Account, make_plan: MakePlan, run: str) -> int:
    """How many rounds of a run the account pays for."""
    for number in range(1, 200):
        plan = make_plan(run=run, round=number)
        if account.shortage(plan):
            with pytest.raises(dp.BudgetExceeded):
                account.charge(plan, b"contribution")
            return number - 1
        account.charge(plan, f"{run} {number}".encode())
    return 200


def test_without_a_total_all_runs_together_stay_within_one_runs_budget(account: Account, make_plan: MakePlan) -> None:
    first = rounds_of(account, make_plan, "first")
    assert 0 < first < 200
    assert rounds_of(account, make_plan, "second") == 0


def test_with_a_total_each_run_has_its_own_budget_and_all_together_the_total(
    account: Account, make_plan: MakePlan
) -> None:
    alone = rounds_of(account, make_plan, "first")
    account = replace(account, total_epsilon=2.5)
    assert rounds_of(account, make_plan, "first") == alone, "a run does not reach into what is for others"
    second = rounds_of(account, make_plan, "second")
    assert 0 < second < alone
    assert account.spent().epsilon <= 2.5
    assert "budget of 2.5" in account.shortage(make_plan(run="third"))


def test_a_release_that_was_charged_is_no_shortage(account: Account, make_plan: MakePlan) -> None:
    account = replace(account, total_epsilon=2.5)
    plan = make_plan()
    account.charge(plan, b"contribution")
    rounds_of(account, make_plan, "run 2")
    assert account.shortage(plan) == ""
    assert account.stored(plan) == b"contribution"
