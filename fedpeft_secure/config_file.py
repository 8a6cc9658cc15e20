"""Reads a configuration from TOML and `--set KEY=VALUE`, with one-line errors that name the key and the remedy."""

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin

import tomli_w
from pydantic import BaseModel, ValidationError

from fedpeft_secure.config import FORMS, Config
from fedpeft_secure.errors import ConfigError
from fedpeft_secure.resolving import resolve
from fedpeft_secure.suggestions import did_you_mean


def load_config(path: str | Path | None = None, *, overrides: Iterable[str] = ()) -> Config:
    """The configuration of the file `path` (every key has a default), changed by `overrides`.

    Args:
        path: a TOML file, or None for the embedded default.
        overrides: texts such as "privacy.epsilon=3"; values are TOML, or plain text where that is no TOML.

    Raises:
        ConfigError: A missing or malformed file, an unknown key (the nearest is suggested), a wrong type or value.
    """
    return parse_config(read_tables(path, overrides=overrides))


def read_tables(path: str | Path | None = None, *, overrides: Iterable[str] = ()) -> dict[str, Any]:
    """The plain values that `load_config` checks: only what was given, unresolved."""
    tables = {} if path is None else _read(Path(path))
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or not key.strip():
            raise ConfigError(f"--set {override!r}: write KEY=VALUE, for example --set privacy.epsilon=3")
        tables = assigned(tables, key.strip(), parse_value(text.strip()), origin=f"--set {override!r}")
    return tables


def assigned(tables: Mapping[str, Any], key: str, value: Any, *, origin: str) -> dict[str, Any]:
    """A copy of nested plain values in which a dotted key has another value.

    Args:
        tables: left as they are.
        key: such as "privacy.epsilon"; tables that are not there are made.
        value: plain.
        origin: who asks for it, for the error.

    Raises:
        ConfigError: If the key goes through a value that is no table.
    """
    first, _, rest = key.partition(".")
    if not rest:
        return {**tables, first: value}
    inner = tables.get(first, {})
    if not isinstance(inner, dict):
        raise ConfigError(f"{origin}: {first!r} is a value, not a table")
    return {**tables, first: assigned(inner, rest, value, origin=origin)}


def parse_value(text: str) -> Any:
    """A value as it is written on the command line: TOML, or plain text where that is no TOML."""
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
    # TOML's own infinity is the number; in this configuration it is spelled "inf" either way.
    return "inf" if value == float("inf") else value


def parse_config(tables: dict[str, Any]) -> Config:
    """Checks nested plain values and turns them into a `Config`; errors as `load_config`.

    Budgets in a file are read, and budgets from a distribution drawn, so that what is returned names every client's.
    """
    return resolve(validated(tables))


def validated(tables: dict[str, Any]) -> Config:
    """The same, before anything is resolved: files are still named, and nothing is dealt."""
    try:
        return Config.model_validate(tables)
    except ValidationError as error:
        raise ConfigError(_one_line(error)) from None


def dump_config(config: Config) -> str:
    """The configuration as TOML, every key written out."""
    return tomli_w.dumps(config.to_dict())


def known_keys(model: type[BaseModel] = Config, prefix: str = "") -> Iterator[str]:
    """All keys in dotted form, tables included."""
    for name, field in model.model_fields.items():
        yield prefix + name
        table = _table_type(field.annotation)
        if table is not None:
            yield from known_keys(table, f"{prefix}{name}.")


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"configuration {path}: {error.strerror}; give the path of an existing TOML file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"configuration {path} is no valid TOML: {error}") from None


def _one_line(error: ValidationError) -> str:
    """The first problem in words: what key, what is wrong, what to write instead."""
    problem = error.errors(include_url=False)[0]
    path = [str(part) for part in problem["loc"] if part not in FORMS]
    if problem["type"] == "extra_forbidden":
        return _unknown(".".join(path))
    keys = {name for known in known_keys() for name in known.split(".")}
    by_name = path[:2] in (["privacy", "per_client"], ["privacy", "groups"])
    key = ".".join(part for part in path if by_name or part in keys)
    given = problem["input"]
    wanted = {"model_type": "should be a table", "tuple_type": 'should be a list, such as ["a", "b"]'}.get(
        problem["type"], problem["msg"].removeprefix("Input ").removeprefix("Value error, ")
    )
    choices = re.findall("'([^']*)'", wanted) if problem["type"] == "literal_error" else ()
    hint = did_you_mean(given, choices) if isinstance(given, str) else ""
    return f"{key or path[0]}: {wanted}, got {'a table' if isinstance(given, dict) else repr(given)}{hint}"


def _unknown(key: str) -> str:
    known = list(known_keys())
    last = key.rsplit(".", 1)[-1]
    elsewhere = (f"; did you mean {name!r}?" for name in known if name.rsplit(".", 1)[-1] == last)
    tables = f"; the tables are {', '.join(Config.model_fields)}"
    return f"{key}: unknown key{did_you_mean(key, known, closeness=0.5) or next(elsewhere, tables)}"


def _table_type(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) is UnionType:
        return next((table for part in get_args(annotation) if (table := _table_type(part))), None)
    return None
