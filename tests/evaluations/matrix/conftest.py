"""A tiny matrix: two defences, one of them with an attack that fails."""

from collections.abc import Callable
from pathlib import Path

import pytest

from evaluations.matrix import Matrix, choose, matrix
from evaluations.matrix.results import DefenceRow, MatrixCell
from fedpeft_secure.events import Event
from tests.fedpeft_secure.conftest import MakeConfig, tiny_bert, tiny_config

__all__ = ["tiny_bert", "tiny_config"]

MakeCell = Callable[..., MatrixCell]


@pytest.fixture(scope="session")
def make_cell() -> MakeCell:
    """Makes a cell; keywords change fields."""

    def make(**changes: object) -> MatrixCell:
        fields = {
            "attack": "span",
            "view": "individual",
            "defence": "plain",
            "replay": False,
            "metric": "token recall",
            "value": 0.9,
            "low": 0.8,
            "high": 1.0,
            "null": 0.1,
        }
        return MatrixCell.model_validate(fields | changes)

    return make


@pytest.fixture(scope="session")
def small(make_cell: MakeCell) -> Matrix:
    """A made-up matrix of two defences, two attacks and two views."""
    row = DefenceRow(
        defence="plain", changes={"privacy.epsilon": "inf"}, strategy="fedit", protocol="plain", rank=8, cohort=8,
        accuracy=0.8, majority_baseline=0.5, upload_bytes=1000, seconds=60.0, epsilon=None, delta=None, unit="example",
    )  # fmt: skip
    private = row.model_copy(update={"defence": "dp-8", "epsilon": 7.9, "delta": 1e-5, "accuracy": 0.7})
    cells = [
        make_cell(attack=attack, defence=defence, view=view, replay=view != own)
        for attack in ("span", "membership")
        for defence, own in (("plain", "individual"), ("dp-8", "individual-dp"))
        for view in ("individual", "individual-dp")
    ]
    cells[-1] = make_cell(attack="membership", defence="dp-8", view="individual-dp", value=0.5, low=0.4, high=0.6,
                          null=0.5)  # fmt: skip
    cells[1] = make_cell(
        view="individual-dp", replay=True, value=None, low=None, high=None, null=None, note="it was not played"
    )
    return Matrix(
        submission="test", model="some/minilm", data="rotten_tomatoes (built-in)", seed=0, versions={"torch": "2"},
        processor="cpu", defences=(row, private), cells=tuple(cells), refused={"ffa": "it is refused"},
    )  # fmt: skip


@pytest.fixture(scope="session")
def played(tiny_config: MakeConfig, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Matrix, list[Event]]:
    """A real one on the tiny model."""
    out, heard = tmp_path_factory.mktemp("matrix") / "out", list[Event]()
    wanted = choose(attacks=["span", "membership"], views=[], defences=["plain", "secure-sum+dp-8"], fast=False)
    return out, matrix(tiny_config(), wanted, out=out, listen=heard.append), heard
