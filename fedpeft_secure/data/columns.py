"""Turns the columns of a table into checked labelled texts."""

import difflib
from typing import Any

import numpy as np
import pandas as pd

from fedpeft_secure.data.examples import LabelledTexts
from fedpeft_secure.errors import DataError


def column_values(table: pd.DataFrame, name: str, *, setting: str, source: str) -> list[Any]:
    """The values of one named column.

    Raises:
        DataError: the column is missing; the message names the columns there are, and the nearest.
    """
    if name in table.columns:
        return list(table[name])
    names = [str(column) for column in table.columns]
    near = difflib.get_close_matches(name.lower(), names, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise DataError(f"{setting} = {name!r} is no column of {source}, which has {', '.join(names)}{hint}")


def labelled_texts(
    texts: list[Any],
    labels: list[Any],
    *,
    groups: list[Any] | None,
    source: str,
    class_names: tuple[str, ...] | None = None,
) -> tuple[LabelledTexts, tuple[str, ...]]:
    """Checked examples, and the name of each class: numbers in their order, strings in alphabetical order.

    Args:
        texts: n strings.
        labels: n strings, integers or booleans.
        groups: n owners, or None.
        source: what messages call the data.
        class_names: the names of labels 0 … C-1 where the source declares them.
    Raises:
        DataError: an empty or missing value, with its row (the first is 1); a single class.
    """
    checked = [_text(value, row=row, source=source) for row, value in enumerate(texts, start=1)]
    keys = [_label(value, row=row, source=source) for row, value in enumerate(labels, start=1)]
    owners = None
    if groups is not None:
        owners = tuple(_group(value, row=row, source=source) for row, value in enumerate(groups, start=1))
    kinds = sorted({type(key).__name__ for key in keys})
    if len(kinds) > 1:
        raise DataError(f"data.label: {source} mixes labels of type {' and '.join(kinds)}: use one type")
    order = sorted(set(keys))
    if len(order) < 2:
        raise DataError(
            f"data.label: {source} has {len(order)} different labels, training needs at least 2: name "
            "the column of classes, or add examples of another one"
        )
    index = {key: position for position, key in enumerate(order)}
    examples = LabelledTexts(
        texts=tuple(checked), labels=np.array([index[key] for key in keys], dtype=np.int64), groups=owners
    )
    declared = class_names is not None and order == list(range(len(class_names)))
    return examples, class_names if declared and class_names else tuple(str(key) for key in order)


def budget_groups(values: list[Any], *, source: str) -> tuple[str, ...]:
    """The group of privacy budgets of each example.

    Raises:
        DataError: a value is missing, with its row.
    """
    return tuple(
        _group(value, row=row, source=source, setting="data.budget_group") for row, value in enumerate(values, start=1)
    )


def _text(value: Any, *, row: int, source: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"data.text: row {row} of {source} has {_what(value)} where a text must be: fix or drop it")
    return value


def _label(value: Any, *, row: int, source: str) -> str | int:
    if isinstance(value, str) and value.strip():
        return value.strip()
    if isinstance(value, bool | np.bool_ | int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return int(value)
    raise DataError(
        f"data.label: row {row} of {source} has {_what(value)} where a class (a string or an integer) must be: "
        "fix or drop it"
    )


def _group(value: Any, *, row: int, source: str, setting: str = "data.partition.column") -> str:
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    if value is None or value is pd.NA or (isinstance(value, float) and np.isnan(value)) or not str(value).strip():
        raise DataError(f"{setting}: row {row} of {source} has no value: fix or drop it")
    return str(value).strip()


def _what(value: Any) -> str:
    if value is None or value is pd.NA or (isinstance(value, float) and np.isnan(value)):
        return "no value"
    if isinstance(value, str):
        return "an empty string"
    if isinstance(value, bytes):
        return "bytes that are no UTF-8"
    return f"a value of type {type(value).__name__}"
