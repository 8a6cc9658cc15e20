import json
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest

from fedpeft_secure.data.columns import labelled_texts
from fedpeft_secure.data.files import read_table
from fedpeft_secure.errors import DataError

TEXTS = ["plain", 'with "quotes", and a comma', "two\nlines", "NA", "ünïcödé ☃"]
LABELS = [1, 0, 1, 0, 1]


def _write(path: Path, columns: dict[str, list]) -> Path:
    if path.suffix == ".csv":
        pd.DataFrame(columns).to_csv(path, index=False)
    elif path.suffix == ".parquet":
        pyarrow.parquet.write_table(pa.table(columns), path)
    else:
        rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


formats = pytest.mark.parametrize("name", ["x.csv", "x.jsonl", "x.parquet", "x.CSV"])


@formats
@pytest.mark.parametrize("labels", [LABELS, ["pos", "neg", "pos", "neg", "pos"]])
def test_round_trip(tmp_path: Path, name: str, labels: list) -> None:
    path = _write(tmp_path / name.lower(), {"id": list(range(5)), "text": TEXTS, "label": labels})
    table = read_table(path.rename(tmp_path / name))
    examples, classes = labelled_texts(list(table["text"]), list(table["label"]), groups=None, source=name)
    assert list(examples.texts) == TEXTS
    assert [classes[index] for index in examples.labels] == [str(label) for label in labels]


@formats
def test_a_missing_label_is_found_and_the_others_stay_integers(tmp_path: Path, name: str) -> None:
    labels = pd.array([1, None, 0], dtype="Int64") if name.lower() == "x.csv" else [1, None, 0]
    path = _write(tmp_path / name.lower(), {"text": ["a", "b", "c"], "label": labels})
    values = list(read_table(path)["label"])
    assert str(values[0]) in {"1", "1.0"}
    with pytest.raises(DataError, match=r"data.label: row 2 of x has no value"):
        labelled_texts(["a", "b", "c"], values, groups=None, source="x")


@formats
def test_a_missing_text_is_found(tmp_path: Path, name: str) -> None:
    path = _write(tmp_path / name.lower(), {"text": ["a", None, "c"], "label": [1, 0, 1]})
    with pytest.raises(DataError, match=r"data.text: row 2 of x has no value"):
        labelled_texts(list(read_table(path)["text"]), [1, 0, 1], groups=None, source="x")


def test_strings_in_jsonl_stay_strings_and_long_numbers_exact(tmp_path: Path) -> None:
    columns = {"text": ["12", "13"], "created_at": ["2024-01-01", "2024-01-02"], "label": [2**53 + 1, 0]}
    assert read_table(_write(tmp_path / "x.jsonl", columns)).to_dict("list") == columns


def test_line_breaks_in_a_long_csv_stay_inside_their_texts(tmp_path: Path) -> None:
    texts = [f"{index}\n" + "many words\n" * 30 for index in range(9000)]
    table = read_table(_write(tmp_path / "x.csv", {"text": texts, "label": [0, 1] * 4500}))
    assert list(table["text"]) == texts


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"there is no file .*nowhere.csv: check the path"):
        read_table(tmp_path / "nowhere.csv")


def test_another_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.xlsx"
    path.write_bytes(b"")
    with pytest.raises(DataError, match=r"x.xlsx is neither of .csv, .jsonl, .parquet: convert it"):
        read_table(path)


@pytest.mark.parametrize(
    ("name", "content"),
    [("x.csv", b"text,label\na,1\nb,2,3\n"), ("x.csv", b""), ("x.jsonl", b'{"text": '), ("x.parquet", b"PAR1 not")],
)
def test_a_broken_file_is_refused_in_one_line(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError, match="cannot be read as") as error:
        read_table(path)
    assert "\n" not in str(error.value)
