import math

import pytest

from evaluations.report import verdicts
from evaluations.report.verdicts import Verdict


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ({"value": 0.7, "low": 0.6, "null": 0.5}, Verdict.ABOVE),
        ({"value": 0.7, "low": 0.5, "null": 0.5}, Verdict.GUESSING),
        ({"value": 0.4, "low": 0.3, "null": 0.5}, Verdict.GUESSING),
        ({"value": 0.7, "low": None, "null": 0.5}, Verdict.NO_INTERVAL),
        ({"value": 0.5, "low": None, "null": 0.5}, Verdict.GUESSING),
        ({"value": 0.7, "low": 0.6, "null": None}, Verdict.NO_CONTROL),
        ({"value": None, "low": None, "null": 0.5}, Verdict.NOT_MEASURED),
        ({"value": 0.51, "low": 0.43, "null": 0.4, "metric": "AUC"}, Verdict.GUESSING),
        ({"value": 0.60, "low": 0.55, "null": 0.4, "metric": "AUC"}, Verdict.ABOVE),
        ({"value": 0.51, "low": 0.43, "null": 0.4, "metric": "token recall"}, Verdict.ABOVE),
    ],
)
def test_verdict(attack_rows, numbers, expected):
    assert verdicts.verdict(attack_rows[0].model_copy(update=numbers)) is expected


def test_private_only_if_every_client_is(base_result, not_private):
    privacy = base_result.privacy
    assert verdicts.is_private(privacy)
    assert not verdicts.is_private(not_private)
    assert len(verdicts.unprotected_clients(not_private)) == 8
    leaky = privacy.clients[2].model_copy(update={"epsilon_spent": math.inf})
    mixed = privacy.model_copy(update={"clients": (*privacy.clients[:2], leaky, *privacy.clients[3:])})
    assert not verdicts.is_private(mixed)
    assert verdicts.unprotected_clients(mixed) == ("client-2",)
    assert verdicts.largest_spender(mixed) == leaky
    assert len(verdicts.unprotected_clients(privacy.model_copy(update={"noise": "none"}))) == 8
    nobody = privacy.model_copy(update={"clients": ()})
    assert not verdicts.is_private(nobody)
    assert verdicts.largest_spender(nobody) is None


def test_over_budget(base_result):
    row = base_result.privacy.clients[0]
    assert not verdicts.is_over_budget(row)
    assert not verdicts.is_over_budget(row.model_copy(update={"epsilon_spent": 8.0}))
    assert verdicts.is_over_budget(row.model_copy(update={"epsilon_spent": 8.01}))


def test_rows_stand_in_the_order_of_the_defences(attack_rows):
    assert verdicts.ordered(reversed(attack_rows[:4])) == list(attack_rows[:4])
    mixed = (attack_rows[5], attack_rows[0], attack_rows[4])
    assert verdicts.ordered(mixed) == [attack_rows[4], attack_rows[5], attack_rows[0]]


def test_groups_share_attack_and_metric_and_leave_out_what_was_not_measured(attack_rows):
    missing = attack_rows[0].model_copy(update={"value": None})
    groups = verdicts.grouped((missing, *attack_rows[1:]))
    assert [(key, len(rows)) for key, rows in groups.items()] == [
        (("span", "recall"), 3),
        (("membership", "AUC"), 4),
        (("membership", "TPR at 1 % FPR"), 4),
    ]


def test_clients_with_one_history_share_a_trajectory(base_result, records, not_private):
    found = verdicts.trajectories(records, base_result.privacy)
    assert [(item.label, item.budget, item.points[-1]) for item in found] == [
        ("7 clients", 8.0, (24, 7.984)),
        ("client-3", 2.0, (24, 1.996)),
    ]
    assert verdicts.trajectories(records, not_private) != []
    assert verdicts.trajectories((), base_result.privacy) == []
    absent = tuple(record.model_copy(update={"epsilon_spent": {}}) for record in records)
    assert verdicts.trajectories(absent, base_result.privacy) == []
