"""The grid: which configurations a sweep is made of, and which of them cannot run."""

import hashlib
import itertools
import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fedpeft_secure.config import Config
from fedpeft_secure.config_file import assigned, dump_config, parse_config, parse_value
from fedpeft_secure.errors import ConfigError, InputError
from fedpeft_secure.preflight import check

LONGEST_NAME = 80
EXAMPLE = "for example --over privacy.epsilon=1,3,8,inf"


@dataclass(frozen=True, kw_only=True, slots=True)
class Axis:
    """A dotted key of the configuration, and the values that it takes."""

    key: str
    values: tuple[Any, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class GridCell:
    """One training of the sweep.

    Args:
        values: of the axes, by key.
        seed: of partition, sampling and noise.
        config: resolved.
        name: of its directory; it holds a digest of the configuration.
    """

    values: Mapping[str, Any]
    seed: int
    config: Config = field(repr=False)
    name: str

    @property
    def title(self) -> str:
        """The cell in words."""
        return f"{values_text(self.values)}, seed {self.seed}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Refused:
    """Values that cannot go together, and the reason."""

    values: Mapping[str, Any]
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Grid:
    """All cells, those of one seed together, and what is refused."""

    axes: tuple[Axis, ...]
    seeds: tuple[int, ...]
    cells: tuple[GridCell, ...]
    refused: tuple[Refused, ...]


def parse_axes(texts: Sequence[str]) -> tuple[Axis, ...]:
    """Reads `--over KEY=V1,V2,...`.

    Raises:
        InputError: If there is none, one has no values, or a key or value comes twice.
    """
    if not texts:
        raise InputError(f"--over: say what the sweep is over, {EXAMPLE}")
    axes = tuple(_parse_axis(text) for text in texts)
    keys = [axis.key for axis in axes]
    twice = next((key for key in keys if keys.count(key) > 1), None)
    if twice is not None:
        raise InputError(f"--over {twice}: given twice; put all its values into one --over")
    return axes


def plan_grid(tables: Mapping[str, Any], axes: Sequence[Axis], seeds: Sequence[int]) -> Grid:
    """Every combination of the axes' values at every seed.

    Args:
        tables: the configuration that all cells share, as plain values; each cell resolves it for itself.
        axes: at least one.
        seeds: at least one.

    Raises:
        ConfigError: A key is unknown, or a value is wrong by itself: it can go with no other.
    """
    cells: list[GridCell] = []
    refused: list[Refused] = []
    for combination in itertools.product(*(axis.values for axis in axes)):
        values = dict(zip((axis.key for axis in axes), combination, strict=True))
        try:
            configs = [_configured(tables, values, seed) for seed in seeds]
            check(configs[0])
        except ConfigError as error:
            refused.append(Refused(values=values, reason=str(error)))
            continue
        cells.extend(
            GridCell(values=values, seed=seed, config=config, name=_name(values, seed, config))
            for seed, config in zip(seeds, configs, strict=True)
        )
    _check_values(axes, cells, refused)
    order = {seed: place for place, seed in enumerate(seeds)}
    cells.sort(key=lambda cell: order[cell.seed])  # stable: cells of one seed share what their lower layers computed
    return Grid(axes=tuple(axes), seeds=tuple(seeds), cells=tuple(cells), refused=tuple(refused))


def values_text(values: Mapping[str, Any]) -> str:
    """The values of a cell in words."""
    return ", ".join(f"{key} = {value_text(value)}" for key, value in values.items())


def value_text(value: Any) -> str:
    """One value, as somebody would have typed it."""
    if isinstance(value, float):
        return f"{value:g}"
    return value if isinstance(value, str) else json.dumps(value)


def absolute_ledger(tables: Mapping[str, Any]) -> dict[str, Any]:
    """A shared ledger stays the same one, wherever a sweep is resumed from."""
    privacy = tables.get("privacy")
    ledger = privacy.get("ledger", "run") if isinstance(privacy, dict) else "run"
    if not isinstance(ledger, str) or ledger == "run":
        return dict(tables)
    return assigned(tables, "privacy.ledger", str(Path(ledger).expanduser().resolve()), origin="privacy.ledger")


def _parse_axis(text: str) -> Axis:
    key, equals, listed = (part.strip() for part in text.partition("="))
    if not equals or not key or not listed:
        raise InputError(f"--over {text!r}: write KEY=V1,V2,..., {EXAMPLE}")
    if key == "seed":
        raise InputError("--over seed: every cell is repeated over seeds already; use --seeds N")
    values = tuple(_parse_values(listed))
    if any(value == "" for value in values):
        raise InputError(f"--over {text!r}: a value is empty; write KEY=V1,V2,..., {EXAMPLE}")
    if len({value_text(value) for value in values}) < len(values):
        raise InputError(f"--over {text!r}: a value comes twice; give each once")
    return Axis(key=key, values=values)


def _parse_values(listed: str) -> list[Any]:
    """A TOML array without its brackets, or plain words between commas."""
    try:
        found = tomllib.loads(f"values = [{listed}]")["values"]
    except tomllib.TOMLDecodeError:
        return [parse_value(part.strip()) for part in listed.split(",")]
    return ["inf" if value == float("inf") else value for value in found]


def _configured(tables: Mapping[str, Any], values: Mapping[str, Any], seed: int) -> Config:
    made = dict(tables)
    for key, value in {**values, "seed": seed}.items():
        made = assigned(made, key, value, origin=f"--over {key}")
    return parse_config(made)


def _check_values(axes: Sequence[Axis], cells: Sequence[GridCell], refused: Sequence[Refused]) -> None:
    """A value that no cell can run with is a mistake, not a gap in the grid."""
    for axis in axes:
        for value in axis.values:
            if any(cell.values[axis.key] == value for cell in cells):
                continue
            first = next(one for one in refused if one.values[axis.key] == value)
            raise ConfigError(f"--over {axis.key}={value_text(value)}: {first.reason}")


def _name(values: Mapping[str, Any], seed: int, config: Config) -> str:
    last = [key.rsplit(".", 1)[-1] for key in values]
    short = last if len(set(last)) == len(last) else list(values)
    parts = [f"{key}={value_text(value)}" for key, value in zip(short, values.values(), strict=True)]
    readable = re.sub(r"[^\w.=+-]", "-", "_".join(parts))[:LONGEST_NAME]
    digest = hashlib.sha256(dump_config(config).encode()).hexdigest()[:8]
    return f"{readable}_seed={seed}-{digest}"
