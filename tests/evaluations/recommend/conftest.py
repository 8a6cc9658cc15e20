"""Finished runs on disk, of chosen accuracy, ε and leakage."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from fedpeft_secure.config_file import assigned, dump_config, parse_config
from tests.evaluations.sweep.conftest import cell_result, leak_row

MakeRuns = Callable[..., list[Path]]


@pytest.fixture
def make_runs(tmp_path: Path) -> MakeRuns:
    """Writes a run for each accuracy, seeds from 0 up; `settings` maps dotted keys to values."""

    def make(
        epsilon: float | str, accuracies: Sequence[float], *, leak: float | None = None, upload: int = 100_000,
        settings: dict[str, Any] | None = None,
    ) -> list[Path]:  # fmt: skip
        made = []
        for seed, accuracy in enumerate(accuracies):
            tables: dict[str, Any] = {}
            for key, value in {"privacy.epsilon": epsilon, "seed": seed, **(settings or {})}.items():
                tables = assigned(tables, key, value, origin="test")
            rows = [] if leak is None else [leak_row(leak + 0.002 * seed)]
            spent = math.inf if epsilon == "inf" else 0.99 * float(epsilon)
            result = cell_result(accuracy=accuracy, epsilon=spent, attacks=rows)
            sent = result.communication.model_copy(update={"upload_bytes": upload})
            names = [f"client-{number}" for number in range(1, 9)]
            clients = tuple(
                row.model_copy(update={"client": name}) for row, name in zip(result.privacy.clients, names, strict=True)
            )
            privacy = result.privacy.model_copy(update={"clients": clients})
            folder = tmp_path / "runs" / f"run-{len(list((tmp_path / 'runs').glob('*')))}"
            folder.mkdir(parents=True)
            whole = result.model_copy(update={"communication": sent, "privacy": privacy})
            (folder / "result.json").write_text(whole.to_json())
            (folder / "config.toml").write_text(dump_config(parse_config(tables)))
            made.append(folder)
        return made

    return make
