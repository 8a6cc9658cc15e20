from collections import Counter
from collections.abc import Callable

from fedpeft_secure import Config
from fedpeft_secure.allocation import choose_cohort

MakeConfig = Callable[..., Config]


def test_everybody_takes_part_sorted_as_the_secure_sum_wants_it(tiny_config: MakeConfig) -> None:
    cohort = choose_cohort(tiny_config({"clients.count": 12, "clients.per_round": 12}), 1)
    assert list(cohort) == sorted(cohort)
    assert set(cohort) == {f"client-{index}" for index in range(1, 13)}


def test_a_part_is_chosen_anew_in_every_round_and_repeatably(tiny_config: MakeConfig) -> None:
    config = tiny_config({"clients.count": 12, "clients.per_round": 6})
    cohorts = [choose_cohort(config, number) for number in range(1, 30)]
    assert cohorts == [choose_cohort(config, number) for number in range(1, 30)]
    assert all(len(set(cohort)) == 6 and list(cohort) == sorted(cohort) for cohort in cohorts)
    assert len(set(cohorts)) > 20


def test_another_seed_chooses_others(tiny_config: MakeConfig) -> None:
    overrides = {"clients.count": 12, "clients.per_round": 6}
    one, two = (tiny_config({**overrides, "seed": seed}) for seed in (1, 2))
    assert [choose_cohort(one, number) for number in range(5)] != [choose_cohort(two, number) for number in range(5)]


def test_everybody_is_chosen_about_equally_often(tiny_config: MakeConfig) -> None:
    config = tiny_config({"clients.count": 12, "clients.per_round": 6})
    counts = Counter(name for number in range(400) for name in choose_cohort(config, number))
    assert all(150 < counts[name] < 250 for name in config.client_names)


def test_who_has_left_is_never_chosen_and_the_others_go_on(tiny_config: MakeConfig) -> None:
    config = tiny_config({"clients.count": 12, "clients.per_round": 6})
    gone = frozenset({"client-2", "client-7", "client-11"})
    cohorts = [choose_cohort(config, number, gone=gone) for number in range(1, 60)]
    assert all(len(cohort) == 6 and not gone & set(cohort) for cohort in cohorts)
    assert set().union(*cohorts) == set(config.client_names) - gone
    few = choose_cohort(config, 1, gone=frozenset(config.client_names[:8]))
    assert set(few) == set(config.client_names[8:])


def test_over_selection_asks_more_clients_than_a_round_waits_for(tiny_config: MakeConfig) -> None:
    config = tiny_config({"clients.count": 12, "clients.per_round": 6, "clients.over_selection": 0.25})
    assert {len(choose_cohort(config, number)) for number in range(1, 20)} == {8}
