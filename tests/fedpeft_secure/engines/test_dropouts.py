from collections.abc import Callable

import pytest

from fedpeft_secure import Config
from fedpeft_secure.engines.dropouts import simulated_dropouts
from fedpeft_secure.plans import RoundPlan

PHASES = ("advertise", "share", "upload")


def vanished(config: Config, plan: RoundPlan) -> dict[str, frozenset[str]]:
    return simulated_dropouts(config, plan, PHASES)


def test_nobody_vanishes_unless_asked_for(
    tiny_config: Callable[..., Config], make_plan: Callable[..., RoundPlan]
) -> None:
    assert vanished(tiny_config(), make_plan()) == {}


def test_clients_vanish_as_often_as_asked_for_and_at_any_message(
    tiny_config: Callable[..., Config], make_plan: Callable[..., RoundPlan]
) -> None:
    config = tiny_config({"clients.simulated_dropout": 0.3})
    counts = dict.fromkeys(PHASES, 0)
    for number in range(1, 301):
        for phase, names in vanished(config, make_plan(round=number)).items():
            counts[phase] += len(names)
            assert names <= set(make_plan().cohort)
    assert sum(counts.values()) / (300 * 5) == pytest.approx(0.3, abs=0.05)
    assert all(count == pytest.approx(150, rel=0.3) for count in counts.values())


def test_a_client_vanishes_once(tiny_config: Callable[..., Config], make_plan: Callable[..., RoundPlan]) -> None:
    config = tiny_config({"clients.simulated_dropout": 0.9})
    for number in range(1, 30):
        names = [name for gone in vanished(config, make_plan(round=number)).values() for name in gone]
        assert len(names) == len(set(names))


def test_a_resumed_simulation_loses_the_same_clients(
    tiny_config: Callable[..., Config], make_plan: Callable[..., RoundPlan]
) -> None:
    config = tiny_config({"clients.simulated_dropout": 0.4})
    rounds = [vanished(config, make_plan(round=number)) for number in range(1, 20)]
    assert rounds == [vanished(config, make_plan(round=number)) for number in range(1, 20)]
    assert rounds != [vanished(config, make_plan(round=number, attempt=1)) for number in range(1, 20)]


def test_a_round_that_asks_more_clients_waits_for_the_fastest_only(
    tiny_config: Callable[..., Config], make_plan: Callable[..., RoundPlan]
) -> None:
    config = tiny_config({"clients.per_round": 4})  # of the five of the plan's cohort
    late = [vanished(config, make_plan(round=number)) for number in range(1, 101)]
    assert all(set(gone) == {"upload"} and len(gone["upload"]) == 1 for gone in late)
    assert {name for gone in late for name in gone["upload"]} == set(make_plan().cohort)
    assert late == [vanished(config, make_plan(round=number)) for number in range(1, 101)]


def test_who_vanished_is_not_cut_off_as_well(
    tiny_config: Callable[..., Config], make_plan: Callable[..., RoundPlan]
) -> None:
    config = tiny_config({"clients.per_round": 4, "clients.simulated_dropout": 0.3})
    for number in range(1, 60):
        gone = [name for names in vanished(config, make_plan(round=number)).values() for name in names]
        assert len(gone) == len(set(gone)) >= 1
