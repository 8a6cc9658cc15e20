"""Reads CSV, JSONL and Parquet files into tables."""

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from fedpeft_secure.errors import DataError

FILE_SUFFIXES = (".csv", ".jsonl", ".parquet")
"""The formats that are read, by the end of the file's name."""


def read_table(path: Path) -> pd.DataFrame:
    """Reads a whole file; empty fields of a CSV are missing values, the word "NA" is a text.

    Raises:
        DataError: the file is missing, of another format, or broken.
    """
    suffix = path.suffix.lower()
    if suffix not in FILE_SUFFIXES:
        raise DataError(f"data.name: {path} is neither of {', '.join(FILE_SUFFIXES)}: convert it to one of them")
    if not path.is_file():
        raise DataError(f"data.name: there is no file {path}: check the path (it is relative to the working directory)")
    try:
        if suffix == ".csv":
            return _read_csv(path)
        if suffix == ".parquet":
            return _to_pandas(pyarrow.parquet.read_table(path))
        return pd.read_json(path, lines=True, dtype=False, convert_dates=False, precise_float=True)
    except (ValueError, OSError, pa.ArrowException) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(
            f"data.name: {path} cannot be read as {suffix[1:]}: {reason}; mend it or write it anew"
        ) from error


def _read_csv(path: Path) -> pd.DataFrame:
    table = pyarrow.csv.read_csv(
        path,
        parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True),
        convert_options=pyarrow.csv.ConvertOptions(null_values=[""], strings_can_be_null=True),
    )
    return _to_pandas(table)


def _to_pandas(table: pa.Table) -> pd.DataFrame:
    frame: pd.DataFrame = table.to_pandas(types_mapper=_exact_type)
    return frame


def _exact_type(kind: pa.DataType) -> pd.api.extensions.ExtensionDtype | None:
    """Nullable integers and booleans, so that one missing label does not turn the others into floats."""
    if pa.types.is_integer(kind):
        return pd.Int64Dtype()
    return pd.BooleanDtype() if pa.types.is_boolean(kind) else None
