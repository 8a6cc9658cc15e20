from collections.abc import Callable
from dataclasses import replace

import pytest

import dp
from fedpeft_secure.errors import ConfigError
from fedpeft_secure.plans import RoundPlan
from fedpeft_secure.result import Departure, LedgerHead, RoundRecord
from fedpeft_secure.server.checkpoints import Progress
from fedpeft_secure.server.departures import check_affordable, next_round
from fedpeft_secure.server.federation import Federation

MakeFederation = Callable[..., Federation]


def plan_with_those_left(
    federation: Federation, progress: Progress, *, attempt: int
) -> tuple[RoundPlan, tuple[Departure, ...]]:
    upcoming = next_round(federation, progress, attempt=attempt)
    assert upcoming.plan is not None
    assert upcoming.too_few == ""
    return upcoming.plan, upcoming.left


def progress_after(federation: Federation, *cohorts: tuple[str, ...]) -> Progress:
    """Where a run stands after rounds with these cohorts, whose last member always vanished."""
    records = tuple(
        RoundRecord(
            round=number,
            attempt=0,
            survivors=cohort[:-1],
            dropped=cohort[-1:],
            accuracy=None,
            loss=None,
            epsilon_spent={},
            ledger=LedgerHead(charges=8, digest="00" * 32),
            upload_bytes=0,
            download_bytes=0,
            seconds={},
            model_hash="",
        )
        for number, cohort in enumerate(cohorts, start=1)
    )
    return Progress(rounds_done=len(records), state=federation.start, optimizer=federation.optimizer, records=records)


def charge(federation: Federation, client: str, *, epsilon: float, run: str = "earlier", round: int = 1) -> None:
    """Charges as much as leaves the client with hardly more than its budget minus `epsilon`."""
    budget = federation.clients[client].budget
    sigma = dp.noise_multiplier(epsilon=epsilon, delta=1e-5, sample_rate=0.25, steps=1, accountant="rdp")
    federation.clients[client].ledger.charge(
        client=client,
        release=dp.ReleaseId(run=run, round=round),
        event=dp.SampledGaussian(noise_multiplier=sigma, sample_rate=0.25, steps=1),
        budget=budget.limit,
        contribution=b"bytes",
        accountant="rdp",
    )


def test_with_room_for_all_nobody_leaves(make_federation: MakeFederation) -> None:
    federation = make_federation()
    plan, left = plan_with_those_left(federation, progress_after(federation), attempt=0)
    assert left == ()
    assert set(plan.cohort) == set(federation.config.client_names)
    assert check_affordable(federation) == ()


def test_a_client_leaves_once_it_took_part_as_often_as_agreed(make_federation: MakeFederation) -> None:
    federation = make_federation(
        {"training.rounds": 5, "secure_sum.protocol": "plain", "privacy.per_client": {"client-2": {"rounds": 2}}}
    )
    everybody = tuple(federation.config.client_names)
    one = progress_after(federation, everybody)
    assert plan_with_those_left(federation, one, attempt=0)[1] == ()
    two = progress_after(federation, everybody, everybody)
    plan, (departure,) = plan_with_those_left(federation, two, attempt=0)
    assert "client-2" not in plan.cohort
    assert len(plan.cohort) == 4
    assert (departure.client, departure.after_round) == ("client-2", 2)
    assert departure.reason == "it took part in the 2 rounds it agreed to"


def test_rounds_in_which_it_vanished_count(make_federation: MakeFederation) -> None:
    """It was charged for them all the same."""
    federation = make_federation(
        {"training.rounds": 5, "secure_sum.protocol": "plain", "privacy.per_client": {"client-5": {"rounds": 1}}}
    )
    once = progress_after(federation, tuple(federation.config.client_names))
    assert once.records[0].dropped == ("client-5",)
    assert [left.client for left in plan_with_those_left(federation, once, attempt=0)[1]] == ["client-5"]


def test_only_rounds_in_which_it_was_chosen_count(make_federation: MakeFederation) -> None:
    overrides = {"clients.count": 8, "clients.per_round": 6, "privacy.per_client": {"client-2": {"rounds": 1}}}
    federation = make_federation({"training.rounds": 5, **overrides})
    without = tuple(name for name in federation.config.client_names if name != "client-2")[:6]
    assert plan_with_those_left(federation, progress_after(federation, without), attempt=0)[1] == ()


def test_nobody_is_ever_chosen_more_often_than_calibrated(make_federation: MakeFederation) -> None:
    terms = {f"client-{index}": {"rounds": index} for index in range(1, 4)}
    federation = make_federation(
        {
            "clients.count": 8,
            "clients.per_round": 6,
            "training.rounds": 12,
            "secure_sum.protocol": "plain",
            "privacy.per_client": terms,
        }
    )
    cohorts: list[tuple[str, ...]] = []
    left: list[str] = []
    for _ in range(12):
        progress = progress_after(federation, *cohorts)
        plan, now = plan_with_those_left(federation, progress, attempt=0)
        left += [departure.client for departure in now if departure.client not in left]
        cohorts.append(plan.cohort)
    for index in range(1, 4):
        assert sum(f"client-{index}" in cohort for cohort in cohorts) <= index
    assert left


def test_a_client_whose_ledger_is_full_leaves_and_the_others_go_on(make_federation: MakeFederation) -> None:
    federation = make_federation({"training.rounds": 10, "secure_sum.protocol": "plain"})
    charge(federation, "client-4", epsilon=7.9)
    plan, (departure,) = plan_with_those_left(federation, progress_after(federation), attempt=0)
    assert plan.cohort == ("client-1", "client-2", "client-3", "client-5")
    assert (departure.client, departure.after_round) == ("client-4", 0)
    assert "above its budget of 8" in departure.reason


def test_a_release_that_is_charged_already_is_sent_whatever_is_left(make_federation: MakeFederation) -> None:
    federation = make_federation({"training.rounds": 10, "secure_sum.protocol": "plain"})
    charge(federation, "client-4", epsilon=7.9, run="run", round=1)
    plan, left = plan_with_those_left(federation, progress_after(federation), attempt=0)
    assert "client-4" in plan.cohort
    assert left == ()
    assert [d.client for d in plan_with_those_left(federation, progress_after(federation), attempt=1)[1]] == [
        "client-4"
    ]


def test_who_left_stays_away(make_federation: MakeFederation) -> None:
    federation = make_federation(
        {"training.rounds": 5, "secure_sum.protocol": "plain", "privacy.per_client": {"client-2": {"rounds": 1}}}
    )
    progress = progress_after(federation, tuple(federation.config.client_names))
    _, left = plan_with_those_left(federation, progress, attempt=0)
    recorded = progress.records[0].model_copy(update={"left": left})
    after = replace(progress, records=(recorded,))
    plan, again = plan_with_those_left(federation, after, attempt=0)
    assert again == ()
    assert "client-2" not in plan.cohort
    assert after.departures == left


def test_before_a_run_it_says_who_will_leave_and_when(make_federation: MakeFederation) -> None:
    federation = make_federation({"training.rounds": 10})
    charge(federation, "client-4", epsilon=4.0)
    (notice,) = check_affordable(federation)
    assert notice.startswith("client-4 will leave after ")
    rounds = int(notice.split("after ")[1].split()[0])
    budget = federation.clients["client-4"].budget
    history = tuple(charged.event for charged in federation.clients["client-4"].ledger.history("client-4"))
    spent = [
        dp.compose(
            (*history, dp.SampledGaussian(noise_multiplier=budget.noise_multiplier, sample_rate=0.25, steps=steps)),
            delta=1e-5,
            accountant="rdp",
        )
        for steps in (rounds, rounds + 1)
    ]
    assert 0 < rounds < 10
    assert spent[0] <= 8.0 < spent[1]


def test_a_run_is_refused_only_if_too_few_could_ever_take_part(make_federation: MakeFederation) -> None:
    federation = make_federation({"training.rounds": 10, "secure_sum.min_cohort": 4, "secure_sum.protocol": "plain"})
    charge(federation, "client-1", epsilon=7.95)
    assert len(check_affordable(federation)) == 1
    for client in ("client-2", "client-3"):
        charge(federation, client, epsilon=7.95)
    with pytest.raises(ConfigError, match=r"privacy.epsilon: the ledger leaves no room .* above its budget of 8"):
        check_affordable(federation)


def test_without_enough_clients_there_is_no_next_round(make_federation: MakeFederation) -> None:
    federation = make_federation({"training.rounds": 10})
    charge(federation, "client-4", epsilon=7.9)
    upcoming = next_round(federation, progress_after(federation), attempt=0)
    assert upcoming.plan is None
    assert [departure.client for departure in upcoming.left] == ["client-4"]
    assert "the smallest cohort that works has 5" in upcoming.too_few
