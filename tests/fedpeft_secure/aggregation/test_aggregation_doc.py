"""docs/aggregation.md: its example runs, its tables are what the benchmark finds."""

import doctest
import importlib.util
import re
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from fedpeft_secure.aggregation import combine
from fedpeft_secure.aggregation.one_module import FACTOR_STRATEGIES, STACKING, STATEFUL

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "aggregation.md"


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "aggregation_strategies", ROOT / "benchmarks/aggregation_strategies.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.SEEDS = range(2)  # type: ignore[attr-defined]
    return module


def tables() -> list[list[list[str]]]:
    """The cells of every table of the page, without its head."""
    found: list[list[list[str]]] = []
    inside = False
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if line.startswith("|---"):
            found.append([])
            inside = True
        elif inside and line.startswith("|"):
            found[-1].append([cell.strip() for cell in line.strip("|").split("|")])
        else:
            inside = False
    return found


def same(shown: str, measured: float, tolerance: float) -> bool:
    return measured < 1e-12 if shown == "exact" else measured == pytest.approx(float(shown), rel=tolerance)


def test_the_example_runs() -> None:
    result = doctest.testfile(str(PAGE), module_relative=False)
    assert result.attempted >= 5
    assert result.failed == 0


def test_every_strategy_is_in_the_table_with_what_it_reads() -> None:
    rows = {row[0].strip("`"): row[2] for row in tables()[0]}
    assert set(rows) == {*FACTOR_STRATEGIES, STACKING.name, *STATEFUL}
    assert {name: kind.reads.value for name, kind in FACTOR_STRATEGIES.items()}.items() <= rows.items()
    assert rows["flora"] == "individual"


def test_the_strategies_measure_as_shown(benchmark: ModuleType) -> None:
    """Two of the five seeds; errors vary by a few per cent between them, and with LAPACK."""
    _, mixed, equal, _ = tables()
    for rows, is_mixed, names in ((mixed, True, benchmark.MIXED), (equal, False, benchmark.EQUAL)):
        assert tuple(row[0] for row in rows) == names
        for row, (_, error, _, sent) in zip(rows, benchmark.strategy_rows(names, mixed=is_mixed), strict=True):
            assert same(row[1], error, 0.2), row
            assert same(row[3], sent, 0.01), row


def test_the_sketch_measures_as_shown(benchmark: ModuleType) -> None:
    rows = tables()[3]
    sizes = [(int(row[0]), int(row[1])) for row in rows]
    for row, (*_, source, ours, estimate, sent) in zip(rows, benchmark.sketch_rows(sizes), strict=True):
        assert same(row[3], ours, 0.1), row
        assert same(row[4], estimate, 0.1), row
        assert same(row[5], sent, 0.01), row
        if row[0] != row[1]:  # square sketches blow the source's formula up by chance
            assert same(row[2], source, 0.15), row


@pytest.mark.slow
def test_sixty_draws_are_as_shown(benchmark: ModuleType) -> None:
    found = []
    for seed in range(60):
        factors, weights = benchmark.case(seed, benchmark.mixed_ranks(seed))
        b, a = combine("product_sketch", factors, weights=weights, rank=16, seed=seed)
        found.append(benchmark.errors(benchmark.mean_product(factors, weights), b, a, 16)[1])
    shown = re.search(r"ours was ([\d.]+) times the best on average and ([\d.]+) at worst", PAGE.read_text("utf-8"))
    assert shown is not None
    assert np.mean(found) == pytest.approx(float(shown[1]), abs=0.01)
    assert max(found) == pytest.approx(float(shown[2]), abs=0.01)
    assert sum(ratio > 1.5 for ratio in found) <= 1
