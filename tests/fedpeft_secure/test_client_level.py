"""The main job under client-level privacy: noise in shares or by a trusted server, an adaptive clip norm, resuming."""

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import dp
import secagg
from evaluations.report.wording import aggregate_statement, messages_statement
from fedpeft_secure.cli import run
from fedpeft_secure.client_budgets import cohort_of, plan_client_budgets
from fedpeft_secure.errors import ConfigError, PolicyError
from fedpeft_secure.plans import pack_request
from fedpeft_secure.preflight import check
from fedpeft_secure.result import Result
from fedpeft_secure.rundir import RunDirectory, read_rounds
from fedpeft_secure.secure_sums import sum_plan
from fedpeft_secure.server.job import training_run
from fedpeft_secure.summary import summary


class InterruptionError(Exception):
    """Stands for a process that dies."""


CLIENT = {"privacy.unit": "client", "attacks.run": [], "privacy.epsilon": 8.0}
MECHANISMS = ["distributed_discrete_gaussian", "distributed_skellam", "central"]


@pytest.fixture(scope="module", params=MECHANISMS)
def finished(request, tiny_config, tmp_path_factory) -> tuple[str, Path, Result]:
    out = tmp_path_factory.mktemp("runs") / request.param
    return request.param, out, run(tiny_config({**CLIENT, "privacy.mechanism": request.param}), out=out)


def test_the_result_says_what_was_protected_and_who_was_trusted(finished):
    mechanism, _, result = finished
    assert result.privacy.unit == "client"
    rows = result.privacy.clients
    assert len(rows) == 5
    assert all(0.5 * 8 < row.epsilon_spent <= 8.0 and row.sample_rate == 1.0 and row.steps == 2 for row in rows)
    assert result.privacy.aggregate is not None
    for text in (result.privacy.clients_assumptions, result.privacy.aggregate.assumptions):
        assert ("TRUSTED" in text) == (mechanism == "central")
    assert result.privacy.mechanism == mechanism
    for words in (
        summary(result, Path()),
        " ".join(messages_statement(result)),
        *aggregate_statement(result.privacy)[:1],
    ):
        assert ("trusted" in words.lower()) == (mechanism == "central")
    assert "does not need the secure sum" not in " ".join(messages_statement(result))
    if mechanism != "central":
        assert result.privacy.aggregate.epsilon < rows[0].epsilon_spent
        assert "3 honest clients or more" in result.privacy.clients_assumptions


def test_the_ledger_charges_each_client_in_its_own_unit(finished):
    mechanism, out, result = finished
    kind = {"distributed_skellam": dp.SkellamSum, "central": dp.SampledGaussian}.get(mechanism, dp.DiscreteGaussianSum)
    with dp.Ledger.open(out / "ledger.sqlite") as ledger:
        for row in result.privacy.clients:
            charges = ledger.history(row.client)
            assert [type(charge.event) for charge in charges] == [kind, kind]
            assert {charge.unit for charge in charges} == {"client"}
            again = dp.compose(tuple(charge.event for charge in charges), delta=1e-5, accountant="rdp")
            assert again == pytest.approx(row.epsilon_spent)
        with pytest.raises(dp.LedgerError, match="unit"):
            ledger.check(
                client="client-1",
                event=dp.NonPrivate(),
                budget=dp.PrivacyBudget(epsilon=9.0, delta=1e-5),
                unit="example",
            )


def test_epsilon_is_an_upper_bound_at_the_smallest_survivor_set_that_clients_accept(finished, tiny_config):
    """The event in the ledger counts as many shares as the plan that clients check guarantees, and no more."""
    mechanism, out, _ = finished
    if mechanism == "central":
        return
    config = tiny_config({**CLIENT, "privacy.mechanism": mechanism})
    with dp.Ledger.open(out / "ledger.sqlite") as ledger:
        event = ledger.history("client-1")[0].event
    assert event.shares == cohort_of(config).honest == 3
    # Of five clients one colludes; the smallest accepted sum has the threshold of three neighbours and the client.
    assert dp.compose((event,) * 2, delta=1e-5, accountant="rdp") <= 8.0


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_what_the_server_reads_is_the_mean_update_with_the_planned_noise(mechanism, tiny_config, tmp_path):
    """Against the same round without noise: the difference has the planned size, and all of the noise is in the sum."""
    states = {}
    for epsilon in (8.0, 1e6):
        config = tiny_config(
            {
                **CLIENT,
                "privacy.mechanism": mechanism,
                "privacy.epsilon": epsilon,
                "training.rounds": 1,
                "training.server_optimizer": "sgd",
                "training.server_learning_rate": 1.0,
                "training.server_schedule": "constant",
                "aggregation.strategy": "ffa",
                "secure_sum.bits": 24,
                "peft.rank": 16,
            }
        )
        root = tmp_path / f"{mechanism}-{epsilon:g}"
        with training_run(config, root, resume=False, listen=lambda _: None) as trained:
            federation, state = trained.federation, trained.progress.state
            noise = federation.budgets[0].client_noise
            names = [entry.name for entry in federation.trained.entries]
            states[epsilon] = np.concatenate([state[name].ravel() for name in names])
        if epsilon == 8.0:
            planned = noise
    difference = states[8.0] - states[1e6]
    if planned.shares is None:
        deviation = planned.central_stddev / 5
    else:
        deviation = np.sqrt(5 * planned.shares.share_variance) / planned.shares.scale / 5
    assert np.std(difference) == pytest.approx(deviation, rel=0.05)
    assert np.std(difference) != pytest.approx(0.9 * deviation, rel=0.05)


def test_an_interrupted_run_resumes_to_the_same_bytes(tiny_config, tmp_path):
    overrides = {**CLIENT, "privacy.clipping": {"scheme": "adaptive"}, "training.rounds": 3}
    whole = run(tiny_config(overrides), out=tmp_path / "whole")

    def stop(event):
        if type(event).__name__ == "RoundFinished" and event.record.round == 2:
            raise InterruptionError

    with (
        pytest.raises(InterruptionError),
        training_run(tiny_config(overrides), tmp_path / "cut", resume=False, listen=stop),
    ):
        pass
    resumed = run(None, out=tmp_path / "cut", resume=True)
    names = (RunDirectory(root=tmp_path / name) for name in ("whole", "cut"))
    records, again = (
        [(r.clip_norm, r.below_clip, r.epsilon_spent) for r in read_rounds(directory)] for directory in names
    )
    assert len(records) == 3
    assert {row.epsilon_spent for row in whole.privacy.clients} == {
        row.epsilon_spent for row in resumed.privacy.clients
    }
    assert records == again
    assert resumed.utility == whole.utility


def test_the_clip_norm_adapts_to_released_counts(tiny_config, tmp_path):
    config = tiny_config({**CLIENT, "privacy.clipping": {"scheme": "adaptive"}, "training.rounds": 3})
    result = run(config, out=tmp_path / "run")
    records = read_rounds(RunDirectory(root=tmp_path / "run"))
    for before, after in pairwise(records):
        share = min(max(before.below_clip, 0.0), 1.0)
        assert after.clip_norm == pytest.approx(before.clip_norm * np.exp(-0.2 * (share - 0.5)))
    assert records[1].clip_norm != records[0].clip_norm
    assert all(row.epsilon_spent <= 8.0 for row in result.privacy.clients)


def test_clients_that_vanish_leave_enough_noise_or_no_sum(tiny_config, tmp_path):
    config = tiny_config({**CLIENT, "clients.simulated_dropout": 0.2, "training.rounds": 3})
    run(config, out=tmp_path / "run")
    records = read_rounds(RunDirectory(root=tmp_path / "run"))
    assert all(len(record.survivors) >= 4 or record.failure for record in records)


def test_a_client_refuses_a_plan_that_guarantees_fewer_honest_survivors(tiny_config, tmp_path):
    with training_run(tiny_config(CLIENT), tmp_path / "run", resume=False, listen=lambda _: None) as trained:
        federation = trained.federation
        client = federation.clients["client-1"]
        noise, agreed = client.budget.client_noise, client.policy.agreed
        sums = sum_plan(agreed, dim=federation.trained.size, directory=federation.keys.directory)
        noise.check(agreed, sums)
        weaker = replace(sums, graph=replace(sums.graph, threshold=2))
        assert weaker.guaranteed_honest == noise.shares.cohort.honest - 1
        with pytest.raises(PolicyError, match="guarantees 2 honest"):
            noise.check(agreed, weaker)
        with pytest.raises(PolicyError, match="mechanism"):
            noise.check(agreed.model_copy(update={"mechanism": "central"}), sums)
        with pytest.raises(PolicyError, match="0 honest"):
            noise.check(agreed.model_copy(update={"protocol": "plain"}), sums)


def test_central_noise_covers_what_rounding_adds_to_a_vector(tiny_config):
    """From the codec itself: the rounded vector may be a step longer in every coordinate."""
    config = tiny_config({**CLIENT, "privacy.mechanism": "central", "secure_sum.bits": 6})
    noise = plan_client_budgets(config, 400)[0].client_noise
    step = secagg.FixedPoint(clip=1.0, bits=6).step
    assert noise.central_stddev == pytest.approx(noise.central_multiplier * (1.0 + 20 * step))
    assert 20 * step > 0.5


def test_a_client_asks_how_many_shares_hide_it_before_it_trains(make_federation):
    federation = make_federation(CLIENT)
    client = federation.clients["client-1"]
    noise, plan = client.budget.client_noise, client.policy.agreed
    more = replace(noise.shares, cohort=replace(noise.shares.cohort, honest=noise.shares.cohort.honest + 1))
    client.budget = replace(client.budget, client_noise=replace(noise, shares=more))
    with pytest.raises(PolicyError, match="guarantees 3 honest survivors, the noise shares were calibrated for 4"):
        client.open_session(pack_request(plan, federation.start))
    assert client.ledger.history("client-1") == ()


@pytest.mark.parametrize(
    ("overrides", "match"),
    [
        ({"secure_sum.protocol": "plain"}, "plain"),
        ({"privacy.mechanism": "distributed_skellam", "privacy.accountant": "prv"}, "Skellam"),
        ({"privacy.unit": "example", "privacy.mechanism": "central"}, "mechanism"),
        ({"privacy.unit": "example", "privacy.clipping": {"scheme": "adaptive"}}, "clipping"),
        ({"privacy.per_client": {"client-1": {"clip_norm": 0.5}}}, "terms of its own"),
        ({"secure_sum.clip": 1.0}, "range"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(overrides, match, tiny_config):
    with pytest.raises(ConfigError, match=match):
        check(tiny_config({**CLIENT, **overrides}))


def test_budgets_follow_the_smallest_and_count_the_clip_norm_in(tiny_config):
    plain = plan_client_budgets(tiny_config(CLIENT), 2000)
    smaller = plan_client_budgets(tiny_config({**CLIENT, "privacy.per_client": {"client-2": 4.0}}), 2000)
    assert smaller[0].noise_multiplier == smaller[1].noise_multiplier > plain[0].noise_multiplier
    assert smaller[1].epsilon_planned <= 4.0
    adaptive = plan_client_budgets(tiny_config({**CLIENT, "privacy.clipping": {"scheme": "adaptive"}}), 2000)
    noise, z = adaptive[0].client_noise, adaptive[0].noise_multiplier
    deviation = noise.shares.noise_multiplier * noise.largest_norm  # of the guaranteed noise, in clip norms
    of_updates, of_count = deviation, deviation / (2 * noise.count_weight)
    assert z == pytest.approx((of_updates**-2 + (2 * of_count) ** -2) ** -0.5, rel=0.01)
    assert of_updates < 1.03 * plain[0].noise_multiplier  # the count's share of the budget is small
    with pytest.raises(ConfigError, match="count_noise"):
        plan_client_budgets(
            tiny_config({**CLIENT, "privacy.clipping": {"scheme": "adaptive", "count_noise": 0.01}}), 2000
        )


def test_what_the_bits_cannot_hold_is_refused(tiny_config):
    with pytest.raises(ConfigError, match=r"secure_sum\.bits"):
        plan_client_budgets(tiny_config({**CLIENT, "privacy.epsilon": 0.01}), 100_000)


def test_fedpeft_budget_plans_whole_clients(tiny_config):
    from fedpeft_secure.budget_table import budget_rows

    rows = budget_rows(tiny_config(CLIENT))
    assert [row.steps for row in rows] == [2] * 5
    assert all(row.epsilon_planned <= 8.0 for row in rows)
    json.dumps([row.model_dump(mode="json") for row in rows])


def test_a_second_run_on_the_same_ledger_finds_no_room_and_charges_nothing(tiny_config, tmp_path):
    overrides = {**CLIENT, "privacy.ledger": str(tmp_path / "ledger.sqlite"), "privacy.noise": "secure"}
    first = run(tiny_config({**overrides, "training.rounds": 1}), out=tmp_path / "first")
    assert first.privacy.noise == "secure"  # calibrated for a second attempt, which was not needed
    with dp.Ledger.read(tmp_path / "ledger.sqlite") as ledger:
        before = ledger.head()
    with pytest.raises(ConfigError, match="no room"):
        run(tiny_config({**overrides, "training.rounds": 40, "privacy.epsilon": 4.0}), out=tmp_path / "second")
    with dp.Ledger.read(tmp_path / "ledger.sqlite") as ledger:
        assert ledger.head() == before
