"""Tiny runs to compare."""

from collections.abc import Callable

import pytest

from evaluations.compare.cells import Cell
from tests.fedpeft_secure.conftest import tiny_bert, tiny_config

__all__ = ["tiny_bert", "tiny_config"]

MakeCell = Callable[..., Cell]


@pytest.fixture(scope="session")
def make_cell() -> MakeCell:
    """Makes a cell of ten test examples; keywords change fields."""
    cell = Cell(
        arm="default",
        seed=0,
        configuration="00",
        strategy="fedsvd",
        correct=(1.0,) * 7 + (0.0,) * 3,
        upload_bytes=1000,
        download_bytes=2000,
        epsilon=8.0,
        precision=0.71,
        recall=0.69,
        f1=0.68,
        flops=2.5e9,
        peak_memory_bytes=900_000_000,
        seconds=3.0,
    )

    def make(**changes: object) -> Cell:
        return cell.model_copy(update=changes)

    return make
