import math
from collections.abc import Callable

import pytest

import dp
from fedpeft_secure.budgets import clip_norm_of, divisor
from fedpeft_secure.result import LedgerHead, RoundRecord
from fedpeft_secure.server import statements
from fedpeft_secure.server.federation import Federation
from fedpeft_secure.server.statements import aggregate_privacy, clients_assumptions, guaranteed_honest

MakeFederation = Callable[..., Federation]


def record(number: int, cohort: tuple[str, ...], *, attempt: int = 0) -> RoundRecord:
    return RoundRecord(
        round=number,
        attempt=attempt,
        survivors=cohort,
        dropped=(),
        accuracy=None,
        loss=None,
        epsilon_spent={},
        upload_bytes=0,
        download_bytes=0,
        seconds={},
        model_hash="",
        ledger=LedgerHead(charges=0, digest=""),
    )


def test_with_equal_clients_it_is_the_noise_of_the_guaranteed_survivors(make_federation: MakeFederation) -> None:
    federation = make_federation()
    names = federation.config.client_names
    found = aggregate_privacy(federation, [record(1, names), record(2, names, attempt=1)])
    assert found is not None
    sigma, honest = federation.budgets[0].noise_multiplier, guaranteed_honest(federation, 5)
    assert found.honest_survivors == honest < 5
    assert found.noise_multiplier == pytest.approx(sigma * math.sqrt(honest))
    assert found.epsilon == dp.epsilon(
        noise_multiplier=found.noise_multiplier, sample_rate=0.25, steps=3, delta=1e-5, accountant="rdp"
    )


@pytest.mark.parametrize(
    ("changes", "claimed"),
    [
        ({"aggregation.strategy": "fedit"}, True),
        ({"aggregation.strategy": "rolora"}, True),
        ({"aggregation.strategy": "fedit", "aggregation.sent_share": 0.5}, True),
        ({"peft.method": "adalora"}, True),
        ({"aggregation.strategy": "flexlora"}, False),
        ({"aggregation.strategy": "fedask"}, False),
        ({"aggregation.strategy": "rank_slots"}, False),
        ({"aggregation.strategy": "fedper"}, False),
        ({"aggregation.strategy": "fedit", "training.control_variates": True}, False),
        ({"aggregation.strategy": "fedsvd", "allocation.ranks": [2, 2, 2, 1, 2]}, False),
    ],
)
def test_nothing_is_claimed_where_noise_does_not_add_up(
    changes: dict[str, object], claimed: bool, make_federation: MakeFederation
) -> None:
    """A sum of products, or of fewer clients than the cohort has, does not hold the noise of all of them."""
    straight = {"training.server_optimizer": "sgd", "training.server_learning_rate": 1.0}
    federation = make_federation({**straight, **changes})
    found = aggregate_privacy(federation, [record(1, federation.config.client_names)])
    assert (found is not None) is claimed


def test_the_worst_example_of_all_clients_counts(make_federation: MakeFederation) -> None:
    """From first principles: sensitivity of every client's example, and the quietest survivors with that client."""
    own = {
        "client-1": {"noise_multiplier": 3.0, "clip_norm": 2.0},
        "client-2": {"noise_multiplier": 1.0, "sample_rate": 0.125},
        "client-3": {"noise_multiplier": 0.7, "clip_norm": 0.5},
    }
    federation = make_federation({"privacy.per_client": own})
    config, names = federation.config, federation.config.client_names
    found = aggregate_privacy(federation, [record(1, names)])
    assert found is not None
    worst = 0.0
    for budget in federation.budgets:
        sensitivity = clip_norm_of(config, budget) / divisor(config, budget)
        stddevs = {
            other.client: other.noise_multiplier * clip_norm_of(config, other) / divisor(config, other)
            for other in federation.budgets
        }
        mine = stddevs.pop(budget.client)
        quiet = sorted(stddevs.values())[: found.honest_survivors - 1]
        noise = math.sqrt(mine**2 + sum(stddev**2 for stddev in quiet))
        spent = dp.epsilon(
            noise_multiplier=noise / sensitivity,
            sample_rate=budget.sample_rate,
            steps=1,
            delta=1e-5,
            accountant="rdp",
        )
        worst = max(worst, spent)
    assert found.epsilon == pytest.approx(worst, rel=1e-9)


def test_the_smallest_cohort_of_the_run_decides(
    make_federation: MakeFederation, monkeypatch: pytest.MonkeyPatch
) -> None:
    federation = make_federation({"clients.count": 9, "clients.per_round": 9})
    names = federation.config.client_names
    monkeypatch.setattr(statements, "guaranteed_honest", lambda _, cohort: cohort - 2)
    found = aggregate_privacy(federation, [record(1, names), record(2, names[:5])])
    assert found is not None
    assert found.honest_survivors == 3


def test_rounds_without_a_client_cost_it_nothing(make_federation: MakeFederation) -> None:
    federation = make_federation({"clients.count": 6, "clients.per_round": 6})
    names = federation.config.client_names
    both = aggregate_privacy(federation, [record(1, names[:5]), record(2, names[:5])])
    one = aggregate_privacy(federation, [record(1, names[:5])])
    assert both is not None
    assert one is not None
    assert both.epsilon > one.epsilon


def test_every_client_is_bounded_at_the_delta_that_is_printed(make_federation: MakeFederation) -> None:
    """The loudest ε at its own small δ hides a client that was only ever bounded at a larger δ."""
    own = {"client-1": {"epsilon": 9.0, "delta": 1e-3}, "client-2": {"epsilon": 9.5, "delta": 1e-9}}
    federation = make_federation({"privacy.per_client": own})
    found = aggregate_privacy(federation, [record(1, federation.config.client_names)])
    assert found is not None
    assert found.delta == federation.config.privacy.delta
    for budget in federation.budgets:
        noise = statements._noise_multiplier(federation, budget, found.honest_survivors)
        spent = dp.epsilon(
            noise_multiplier=noise, sample_rate=budget.sample_rate, steps=1, delta=found.delta, accountant="rdp"
        )
        assert spent <= found.epsilon


@pytest.mark.parametrize("unit", ["example", "client"])
def test_attempts_that_were_cut_off_count(unit: str, make_federation: MakeFederation) -> None:
    """A round that was killed before its record and never repeated, too few being left, was summed all the same."""
    federation = make_federation({"privacy.unit": unit, "secure_sum.bits": 24})
    cohort = federation.config.client_names
    before = aggregate_privacy(federation, [record(1, cohort)])
    for client in federation.clients.values():
        for number in (1, 2):
            client.ledger.charge(
                client=client.name,
                release=dp.ReleaseId(run=federation.run, round=number),
                event=dp.SampledGaussian(noise_multiplier=50.0, sample_rate=0.1, steps=1),
                budget=client.budget.limit,
                contribution=b"",
                accountant="rdp",
                unit=federation.config.privacy.unit,
            )
    after = aggregate_privacy(federation, [record(1, cohort)])
    assert before is not None
    assert after is not None
    assert after == aggregate_privacy(federation, [record(1, cohort), record(2, cohort)])
    assert after.epsilon > before.epsilon


@pytest.mark.parametrize(
    "overrides",
    [
        {"privacy.epsilon": "inf"},
        {"secure_sum.protocol": "plain"},
        {"training.local_steps": 2},
        {"training.optimizer": "adamw"},
    ],
)
def test_nothing_is_claimed_without_a_proof(overrides: dict[str, object], make_federation: MakeFederation) -> None:
    federation = make_federation(overrides)
    assert aggregate_privacy(federation, [record(1, federation.config.client_names)]) is None


def test_what_a_client_assumes_is_said_and_simulated_noise_named(make_federation: MakeFederation) -> None:
    said = clients_assumptions(make_federation())
    assert "noise from a seed is not" in said
    assert "one example, to the server and all other clients together" in said
    assert "operating system" in clients_assumptions(make_federation({"privacy.noise": "secure"}))
    assert clients_assumptions(make_federation({"privacy.epsilon": "inf"})) == ""


@pytest.mark.parametrize(
    "overrides",
    [
        {},
        {"privacy.unit": "client", "secure_sum.bits": 24},
        {"privacy.unit": "client", "privacy.mechanism": "central"},
    ],
)
def test_simulated_noise_is_named_beside_what_the_sums_reveal(
    overrides: dict[str, object], make_federation: MakeFederation
) -> None:
    for kind in ("simulation", "secure"):
        federation = make_federation({**overrides, "privacy.noise": kind})
        plan = federation.clients["client-1"].policy.agreed
        assert plan is not None
        assert federation.server_noise(plan).label == kind
        found = aggregate_privacy(federation, [record(1, federation.config.client_names)])
        assert found is not None
        assert ("noise were secret, which one from a seed is not" in found.assumptions) == (kind == "simulation")


def test_with_groups_it_is_the_noise_in_the_smallest_group(make_federation: MakeFederation) -> None:
    federation = make_federation(
        {
            "clients.count": 16,
            "clients.per_round": 16,
            "aggregation.groups": 3,
            "aggregation.robust": "median",
            "secure_sum.adversarial_fraction": 0.05,
        }
    )
    names = federation.config.client_names
    found = aggregate_privacy(federation, [record(1, names), record(2, names)])
    assert found is not None
    assert found.honest_survivors == guaranteed_honest(federation, 5) < guaranteed_honest(federation, 16)
    sigma = federation.budgets[0].noise_multiplier
    assert found.noise_multiplier == pytest.approx(sigma * math.sqrt(found.honest_survivors))
    assert "every sum, one for each group, that clients help to open then holds" in found.assumptions


def test_only_sums_of_a_size_that_there_was_are_looked_at(
    make_federation: MakeFederation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No graph need exist for another: the statement of a run that went well would fail it at its end."""
    federation = make_federation(
        {
            "clients.count": 16,
            "clients.per_round": 16,
            "aggregation.groups": 3,
            "aggregation.robust": "median",
            "secure_sum.adversarial_fraction": 0.05,
        }
    )
    names, seen = federation.config.client_names, set[int]()

    def honest(_: Federation, size: int) -> int:
        seen.add(size)
        return 3

    monkeypatch.setattr(statements, "guaranteed_honest", honest)
    for cohort, sizes in ((names[:15], {5}), (names, {5, 6})):
        seen.clear()
        assert aggregate_privacy(federation, [record(1, cohort)]) is not None
        assert seen == sizes
