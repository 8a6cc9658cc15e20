import csv
import math
from pathlib import Path

import pyarrow.parquet as pq

from evaluations.sweep.files import write_tables
from evaluations.sweep.summary import Finished
from tests.evaluations.sweep.conftest import cell_result, leak_row, small_grid


def test_every_cell_has_a_row_in_both_files(tmp_path: Path) -> None:
    grid = small_grid("privacy.epsilon=3,inf", 'attacks.run=["membership"]', seeds=(0, 1))
    lost, *rest = grid.cells
    rows = [leak_row(0.6)]
    done = [
        Finished(
            cell=cell, result=cell_result(accuracy=0.7, epsilon=float(cell.values["privacy.epsilon"]), attacks=rows)
        )
        for cell in rest
    ]
    write_tables(tmp_path, grid, done, {lost.name: "out, of memory\n"})
    table = pq.read_table(tmp_path / "results.parquet").to_pylist()
    assert [row["run"] for row in table] == [f"cells/{cell.name}" for cell in grid.cells]
    assert (table[0]["failure"], table[0]["accuracy"]) == ("out, of memory\n", None)
    assert (table[1]["privacy.epsilon"], table[1]["epsilon"]) == (math.inf, math.inf)
    assert (table[2]["accuracy"], table[2]["seed"], table[2]["unit"]) == (0.7, 1, "example")
    assert (table[2]["membership.sum-dp.AUC"], table[2]["membership.sum-dp.AUC.null"]) == (0.6, 0.5)
    assert table[2]["attacks.run"] == '["membership"]'
    with (tmp_path / "results.csv").open() as file:
        read = list(csv.DictReader(file))
    assert [row["run"] for row in read] == [row["run"] for row in table]
    assert set(read[0]) == set(table[0])
    assert (read[1]["privacy.epsilon"], float(read[2]["accuracy"])) == ("inf", 0.7)


def test_numbers_and_words_on_one_axis_are_words(tmp_path: Path) -> None:
    grid = small_grid("peft.target_rank=2,auto", seeds=(0,))
    done = [Finished(cell=cell, result=cell_result(accuracy=0.7, epsilon=1.0)) for cell in grid.cells]
    write_tables(tmp_path, grid, done, {})
    assert pq.read_table(tmp_path / "results.parquet")["peft.target_rank"].to_pylist() == ["2", "auto"]
