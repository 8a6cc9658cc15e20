"""Turns `privacy.per_client` into a table that names every client's terms: read from a CSV file, or drawn."""

import csv
import math
import re
from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from fedpeft_secure.config import BudgetDistribution, ClientTerms, Config
from fedpeft_secure.errors import ConfigError

COLUMNS = ("client", "epsilon", "delta", "sample_rate", "noise_multiplier", "clip_norm", "rounds")
"""The columns of a CSV file of budgets: "client" is required, an empty cell is as for everybody."""

_MAX_DRAWS = 1000
_NUMBER = re.compile(r"[+-]?[0-9.]+([eE][+-]?[0-9]+)?")  # Python reads "1_0" and "１０" as 10 too: nobody means that


def resolve(config: Config) -> Config:
    """The configuration with a table in place of a file or a distribution; a table stays as it is.

    Raises:
        ConfigError: Names file, line, column and remedy, or the setting of the distribution.
    """
    given = config.privacy.per_client
    if isinstance(given, str):
        table = read_budgets(Path(given))
    elif isinstance(given, BudgetDistribution):
        table = draw_budgets(given, config)
    else:
        return config
    privacy = config.privacy.model_copy(update={"per_client": table})
    return config.model_copy(update={"privacy": privacy})


def read_budgets(path: Path) -> dict[str, ClientTerms]:
    """Reads a CSV file of one client a row; `COLUMNS` in any order and number.

    Args:
        path: relative to the working directory, as the paths of data files are.

    Raises:
        ConfigError: The first thing that is wrong, by line and column.
    """
    where = f"privacy.per_client: {path}"
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(_numbered(csv.reader(file, strict=True)))
    except OSError as error:
        raise ConfigError(
            f"{where}: {error.strerror}; give an existing CSV file (the path is relative to the working directory)"
        ) from None
    except (csv.Error, UnicodeDecodeError) as error:
        raise ConfigError(f"{where} is no CSV file in UTF-8: {error}; write it anew") from None
    if not rows:
        raise ConfigError(f"{where} is empty; begin it with a line of column names, such as client,epsilon")
    (line, header), *body = rows
    header = _header(header, f"{where}, line {line}")
    table: dict[str, ClientTerms] = {}
    for line, cells in body:
        at = f"{where}, line {line}"
        if len(cells) != len(header):
            raise ConfigError(f"{at}: {len(cells)} cells for {len(header)} columns; write one cell a column")
        row = dict(zip(header, cells, strict=True))
        client = row.pop("client")
        if not client:
            raise ConfigError(f"{at}, column client: empty; name the client, such as client-1")
        if client in table:
            raise ConfigError(f"{at}, column client: {client!r} has a row already; keep one row a client")
        table[client] = _terms(row, at)
    return table


def _numbered(reader: Iterator[list[str]]) -> Iterator[tuple[int, list[str]]]:
    """Rows that hold anything, stripped, with the number of their line."""
    for number, row in enumerate(reader, start=1):
        cells = [cell.strip() for cell in row]
        if any(cells):
            yield number, cells


def _header(names: list[str], at: str) -> list[str]:
    unknown = [name for name in names if name not in COLUMNS]
    if unknown:
        raise ConfigError(f"{at}: unknown column {unknown[0]!r}; the columns are {', '.join(COLUMNS)}")
    if len(set(names)) < len(names) or "client" not in names:
        raise ConfigError(f"{at}: every column must stand there once, and client must; the columns are {names}")
    return names


def _terms(row: dict[str, str], at: str) -> ClientTerms:
    values: dict[str, float | int | str] = {}
    for column, cell in row.items():
        if not cell:
            continue
        try:
            values[column] = "inf" if cell == "inf" else _number(cell, int if column == "rounds" else float)
        except ValueError:
            kind = "a whole number" if column == "rounds" else "a number"
            raise ConfigError(f"{at}, column {column}: {cell!r} is not {kind}; correct it or leave it empty") from None
    try:
        return ClientTerms.model_validate(values)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        column = str(problem["loc"][0])
        wanted = problem["msg"].removeprefix("Input ").removeprefix("Value error, ")
        raise ConfigError(f"{at}, column {column}: {wanted}, got {row[column]!r}; correct it") from None


def _number(cell: str, kind: type[int] | type[float]) -> float:
    """A plain number; one too large for a float is none, lest a slip of the pen read as "no privacy".

    Raises:
        ValueError: If the cell holds anything else.
    """
    if not _NUMBER.fullmatch(cell) or not math.isfinite(float(cell)):
        raise ValueError(cell)
    return kind(cell)


def draw_budgets(given: BudgetDistribution, config: Config) -> dict[str, ClientTerms]:
    """Draws every client's ε, each from its own stream of the run's seed: another client changes nobody's budget.

    Raises:
        ConfigError: If the distribution is not described completely.
    """
    from fedpeft_secure.seeds import Seed

    _require_described(given)
    seed = Seed(config.seed)
    table = {}
    for client in config.client_names:
        rng = seed.child("budgets", client)
        if given.distribution == "choice":
            shares = given.shares or (1 / len(given.values),) * len(given.values)
            drawn = float(rng.choice(given.values, p=[share / sum(shares) for share in shares]))
        else:
            low, high = given.low or 0.0, given.high or 0.0
            draws = (
                rng.uniform(low, high, _MAX_DRAWS)
                if given.distribution == "uniform"
                else rng.lognormal(math.log(low * high) / 2, math.log(high / low) / 4, _MAX_DRAWS)
            )
            inside = next((float(draw) for draw in draws if low <= draw <= high), low)
            drawn = min(max(float(f"{inside:.4g}"), low), high)
        table[client] = ClientTerms(epsilon=drawn)
    return table


def _require_described(given: BudgetDistribution) -> None:
    name = f"privacy.per_client: distribution {given.distribution!r}"
    if given.distribution == "choice":
        if not given.values or given.low is not None or given.high is not None:
            raise ConfigError(f"{name} takes values and, if they are not equally likely, shares; not low and high")
        if given.shares and (len(given.shares) != len(given.values) or not math.isclose(sum(given.shares), 1)):
            raise ConfigError(f"{name} needs one share for each of {len(given.values)} values, adding up to 1")
        return
    if given.values or given.shares or given.low is None or given.high is None or not given.low < given.high:
        raise ConfigError(f"{name} takes low and high, 0 < low < high, and nothing else")
