import json
from pathlib import Path

import pytest

from evaluations.recommend.evidence import read_candidates
from fedpeft_secure.config_file import parse_config
from fedpeft_secure.errors import InputError


def test_runs_that_differ_in_the_seed_alone_are_one_candidate(make_runs, tmp_path: Path) -> None:
    make_runs(3, (0.70, 0.71, 0.72))
    make_runs(8, (0.75, 0.76))
    found = sorted(read_candidates([tmp_path], None), key=lambda each: each.epsilon)
    assert [(each.accuracy.n, round(each.accuracy.mean, 3)) for each in found] == [(3, 0.71), (2, 0.755)]
    assert [round(each.epsilon, 2) for each in found] == [2.97, 7.92]
    assert set(found[0].epsilons) == {f"client-{number}" for number in range(1, 9)}


def test_where_it_is_attacked_and_charged_makes_no_other_candidate(make_runs, tmp_path: Path) -> None:
    make_runs(3, (0.70,))
    make_runs(3, (0.70, 0.72), settings={"attacks.run": [], "privacy.ledger": "/l.sqlite"})
    (found,) = read_candidates([tmp_path], None)
    assert found.accuracy.n == 2, "the same seed twice is one seed"


def test_what_cannot_be_read_is_no_evidence_and_no_obstacle(make_runs, tmp_path: Path) -> None:
    first, second = make_runs(3, (0.70, 0.71))
    (first / "result.json").write_text("{}")
    (found,) = read_candidates([tmp_path], None)
    assert found.runs == (second,)


def test_other_models_and_data_are_left_aside(make_runs, tmp_path: Path) -> None:
    make_runs(3, (0.70,))
    make_runs(3, (0.90,), settings={"data.name": "synthetic"})
    base = parse_config({"data": {"name": "synthetic"}})
    (found,) = read_candidates([tmp_path], base)
    assert found.accuracy.mean == 0.9
    with pytest.raises(InputError, match="give a CONFIG"):
        read_candidates([tmp_path], None)
    with pytest.raises(InputError, match=r"no finished run of minilm on other\.csv"):
        read_candidates([tmp_path], parse_config({"data": {"name": "other.csv"}}))


def test_an_empty_folder_is_no_evidence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no finished run in it"):
        read_candidates([tmp_path], None)


def test_epsilons_of_several_deltas_are_not_compared_unasked(make_runs, tmp_path: Path) -> None:
    runs = make_runs(3, (0.70,)) + make_runs(8, (0.75,))
    result = json.loads((runs[0] / "result.json").read_text())
    result["privacy"]["clients"][0]["delta"] = 1e-2
    (runs[0] / "result.json").write_text(json.dumps(result))
    with pytest.raises(InputError, match="hold for several units or δ; give a CONFIG"):
        read_candidates([tmp_path], None)
    assert len(read_candidates([tmp_path], parse_config({}))) == 2
