from collections.abc import Callable

import pytest

from fedpeft_secure import Config
from fedpeft_secure.affordability import affordable_rounds, foresee
from fedpeft_secure.budget_limits import limits, variance_shares
from fedpeft_secure.budgets import plan_budgets

MakeConfig = Callable[..., Config]


def said(config: Config, **affordable: int) -> dict[str, tuple[str, ...]]:
    budgets = plan_budgets(config)
    rounds = {budget.client: affordable_rounds(config, budget, ()) for budget in budgets}
    rounds |= {name.replace("_", "-"): count for name, count in affordable.items()}
    return limits(config, budgets, rounds=rounds, foresight=foresee(config, rounds))


def test_where_all_are_alike_nobody_limits_anybody(tiny_config: MakeConfig) -> None:
    config = tiny_config()
    assert set(said(config).values()) == {()}
    assert set(variance_shares(config, plan_budgets(config)).values()) == {0.2}


def test_without_noise_there_is_no_variance_to_share(tiny_config: MakeConfig) -> None:
    config = tiny_config({"privacy.epsilon": "inf"})
    assert set(variance_shares(config, plan_budgets(config)).values()) == {0.0}
    assert set(said(config).values()) == {()}


def test_shares_are_those_of_the_noise_that_is_sent(tiny_config: MakeConfig) -> None:
    terms = {f"client-{index}": {"noise_multiplier": 1.0} for index in range(1, 6)}
    terms["client-2"] = {"noise_multiplier": 3.0, "clip_norm": 0.5, "sample_rate": 0.125}
    config = tiny_config({"privacy.per_client": terms})
    shares = variance_shares(config, plan_budgets(config))
    # The divisor halves with the rate, so that this client's noise is 3 · 0.5 · 2 times that of the others.
    assert shares["client-2"] == pytest.approx(9 / 13)
    assert shares["client-1"] == pytest.approx(1 / 13)
    assert sum(shares.values()) == pytest.approx(1)


def test_the_loudest_is_named_with_its_reason_and_what_would_help(tiny_config: MakeConfig) -> None:
    config = tiny_config({"privacy.per_client": {"client-2": 1.0}})
    (sentence,) = said(config)["client-2"]
    share = variance_shares(config, plan_budgets(config))["client-2"]
    assert sentence.startswith(
        f"its noise is {100 * share:.0f} % of the variance of the sum, where an equal share is 20 %"
    )
    assert "because of its ε = 1; with ε = " in sentence
    remedy = float(sentence.split("with ε = ")[1].split()[0])
    eased = tiny_config({"privacy.per_client": {"client-2": remedy}})
    assert variance_shares(eased, plan_budgets(eased))["client-2"] == pytest.approx(0.2, rel=0.05)


def test_a_low_rate_and_a_given_noise_are_reasons_too(tiny_config: MakeConfig) -> None:
    slow = {"client-2": {"sample_rate": 0.05}}
    assert "its ε = 8 and its sample_rate = 0.05" in said(tiny_config({"privacy.per_client": slow}))["client-2"][0]
    loud = {"client-2": {"noise_multiplier": 9.0}}
    assert "because of its noise_multiplier = 9" in said(tiny_config({"privacy.per_client": loud}))["client-2"][0]


def test_who_leaves_when_and_why(tiny_config: MakeConfig) -> None:
    overrides = {"training.rounds": 9, "clients.count": 7, "clients.per_round": 7}
    config = tiny_config({**overrides, "privacy.per_client": {"client-2": {"rounds": 3, "noise_multiplier": 1.0}}})
    found = said(config, client_4=5, client_5=6)
    assert found["client-2"][0] == "leaves after round 3: privacy.per_client gives it 3 of 9 rounds"
    assert found["client-4"][0] == "leaves after round 5: its ledger has room for 5 of 9 rounds"
    assert found["client-5"][0] == (
        "leaves after round 6: its ledger has room for 6 of 9 rounds; too few are left then, and the run ends"
    )


def test_a_chosen_few_may_never_reach_their_limit(tiny_config: MakeConfig) -> None:
    overrides = {"training.rounds": 9, "clients.count": 12, "clients.per_round": 6}
    found = said(tiny_config({**overrides, "privacy.per_client": {"client-2": {"rounds": 8}}}))
    assert found["client-2"] == ("may be chosen 8 times: privacy.per_client gives it 8 of 9 rounds",)
