import numpy as np
import pandas as pd
import pytest

from fedpeft_secure.data.columns import column_values, labelled_texts
from fedpeft_secure.errors import DataError


def _checked(texts: list, labels: list, **options):
    return labelled_texts(texts, labels, groups=options.pop("groups", None), source="x.csv", **options)


@pytest.mark.parametrize(
    ("labels", "indices", "classes"),
    [
        (["spam", "ham", "spam"], [1, 0, 1], ("ham", "spam")),
        ([10, 9, 10], [1, 0, 1], ("9", "10")),
        ([np.int32(1), np.int32(-1), np.int32(1)], [1, 0, 1], ("-1", "1")),
        ([True, False, True], [1, 0, 1], ("0", "1")),
        ([1.0, 0.0, 1.0], [1, 0, 1], ("0", "1")),
        ([" spam", "ham", "spam "], [1, 0, 1], ("ham", "spam")),
    ],
)
def test_labels_become_indices_in_order(labels: list, indices: list[int], classes: tuple[str, ...]) -> None:
    examples, names = _checked(["a", "b", "c"], labels)
    assert (examples.labels.tolist(), names) == (indices, classes)


def test_declared_names_replace_the_numbers() -> None:
    assert _checked(["a", "b"], [1, 0], class_names=("neg", "pos"))[1] == ("neg", "pos")


def test_declared_names_that_do_not_fit_are_ignored() -> None:
    assert _checked(["a", "b"], [1, 2], class_names=("neg", "pos"))[1] == ("1", "2")


def test_owners_are_strings_without_a_decimal_point() -> None:
    assert _checked(["a", "b", "c"], [0, 1, 0], groups=[1.0, 2, " x "])[0].groups == ("1", "2", "x")


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("  ", "an empty string"),
        (None, "no value"),
        (float("nan"), "no value"),
        (7, "a value of type int"),
        (b"\xe9", "bytes that are no UTF-8"),
    ],
)
def test_an_unusable_text_is_refused_with_its_row(text: object, what: str) -> None:
    with pytest.raises(DataError, match=f"data.text: row 2 of x.csv has {what} where a text must be"):
        _checked(["a", text], [0, 1])


@pytest.mark.parametrize(
    ("label", "what"),
    [
        ("", "an empty string"),
        (None, "no value"),
        (float("nan"), "no value"),
        (pd.NA, "no value"),
        (0.5, "a value of type float"),
    ],
)
def test_an_unusable_label_is_refused_with_its_row(label: object, what: str) -> None:
    with pytest.raises(DataError, match=f"data.label: row 3 of x.csv has {what} where a class"):
        _checked(["a", "b", "c"], [0, 1, label])


@pytest.mark.parametrize("owner", [None, float("nan"), pd.NA, " "])
def test_a_missing_owner_is_refused_with_its_row(owner: object) -> None:
    with pytest.raises(DataError, match=r"data.partition.column: row 1 of x.csv has no value"):
        _checked(["a", "b"], [0, 1], groups=[owner, "x"])


def test_a_single_class_is_refused() -> None:
    with pytest.raises(DataError, match=r"data.label: x.csv has 1 different labels, .*: name the column"):
        _checked(["a", "b"], [1, 1])


def test_labels_of_two_types_are_refused() -> None:
    with pytest.raises(DataError, match="mixes labels of type int and str"):
        _checked(["a", "b"], [1, "one"])


def test_a_missing_column_is_refused_with_the_nearest() -> None:
    table = pd.DataFrame({"sentence": ["a"], "labels": [1]})
    with pytest.raises(DataError) as error:
        column_values(table, "label", setting="data.label", source="x.csv")
    assert str(error.value) == (
        "data.label = 'label' is no column of x.csv, which has sentence, labels; did you mean 'labels'?"
    )
    with pytest.raises(DataError, match=r"which has sentence, labels$"):
        column_values(table, "quux", setting="data.text", source="x.csv")
