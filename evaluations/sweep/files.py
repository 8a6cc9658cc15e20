"""The cells of a sweep as one table, a row each: Parquet and CSV."""

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from evaluations.sweep.grid import Grid, value_text
from evaluations.sweep.summary import Finished
from fedpeft_secure.result import Result
from fedpeft_secure.rundir import write_atomically


def write_tables(out: Path, grid: Grid, finished: Sequence[Finished], failures: Mapping[str, str]) -> None:
    """Writes `results.parquet` and `results.csv`: every cell, those without a result with the reason.

    The axes' values stand under their dotted keys as text, in the order of the grid; where a number is meant, it is
    written as one. An infinite ε is one.
    """
    by_name = {one.cell.name: one.result for one in finished}
    rows: list[dict[str, Any]] = []
    for cell in grid.cells:
        row: dict[str, Any] = {key: _plain(value) for key, value in cell.values.items()}
        row |= {"seed": cell.seed, "run": f"cells/{cell.name}", "failure": failures.get(cell.name, "")}
        rows.append(row | (_figures(by_name[cell.name]) if cell.name in by_name else {}))
    columns = list(dict.fromkeys(name for row in rows for name in row))
    table = pa.table({name: _column([row.get(name) for row in rows]) for name in columns})
    for name, write in (("results.parquet", pa.parquet.write_table), ("results.csv", pa.csv.write_csv)):
        buffer = io.BytesIO()
        write(table, buffer)
        write_atomically(out / name, buffer.getvalue())


def _figures(result: Result) -> dict[str, Any]:
    privacy, utility = result.privacy, result.utility
    row: dict[str, Any] = {
        "accuracy": utility.accuracy,
        "precision": utility.precision,
        "recall": utility.recall,
        "f1": utility.f1,
        "loss": utility.loss,
        "majority_baseline": utility.majority_baseline,
        "epsilon": max((row.epsilon_spent for row in privacy.clients), default=math.inf)
        if privacy.private
        else math.inf,
        "delta": max((row.delta for row in privacy.clients), default=0.0),
        "unit": privacy.unit,
        "noise": privacy.noise,
        "upload_bytes": result.communication.upload_bytes,
        "download_bytes": result.communication.download_bytes,
        "seconds": result.compute.seconds["total"],
        "peak_memory_bytes": result.compute.peak_memory_bytes,
        "strategy": result.setup.strategy,
    }
    for attack in result.attacks:
        name = f"{attack.attack}.{attack.view}{'.replay' if attack.replay else ''}.{attack.metric}"
        row |= {name: attack.value, f"{name}.low": attack.low, f"{name}.high": attack.high, f"{name}.null": attack.null}
    return row


def _plain(value: Any) -> int | float | str:
    if value == "inf":
        return math.inf
    return value if isinstance(value, int | float) and not isinstance(value, bool) else value_text(value)


def _column(values: list[Any]) -> "pa.Array":
    """Numbers as numbers where all of a column are; text otherwise."""
    known = [value for value in values if value is not None]
    if any(isinstance(value, str) for value in known):
        return pa.array([None if value is None else str(value) for value in values], type=pa.string())
    if any(isinstance(value, float) for value in known):
        return pa.array([None if value is None else float(value) for value in values], type=pa.float64())
    return pa.array(values, type=pa.int64() if known else pa.float64())
