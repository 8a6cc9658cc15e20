"""docs/settings.md, made from the configuration's own classes.

    python -m fedpeft_secure.settings.reference > docs/settings.md

Every key stands there with what it may be, its default, its unit and the sentence under it in the source.
"""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from fedpeft_secure.config import Config

Schema = dict[str, Any]

_HEAD = """# All settings

Every key of the configuration file, made from the configuration's own classes by
`python -m fedpeft_secure.settings.reference`; a test compares it. A file names only what differs from the defaults;
`--set table.key=value` on the command line changes one key more. An unknown key is an error that suggests the nearest.
"""

_COLUMNS = ("key", "values", "default", "unit", "meaning")

_BOUNDS = (("exclusiveMinimum", ">"), ("minimum", "≥"), ("exclusiveMaximum", "<"), ("maximum", "≤"))


@dataclass(frozen=True, kw_only=True, slots=True)
class Key:
    """One key of a table, as the reference shows it.

    Args:
        name: without its table.
        values: what it may be, in words; a table's is the place of its own section.
        default: as TOML writes it, or empty where the key is left out or has keys of its own.
        unit: or empty.
        meaning: one sentence.
    """

    name: str
    values: str
    default: str
    unit: str
    meaning: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    """One table of the configuration.

    Args:
        path: dotted, with NAME for a name that users choose; empty for the top level.
        meaning: what the class says of itself.
        keys: in the order of the class.
    """

    path: str
    meaning: str
    keys: tuple[Key, ...]


def sections() -> tuple[Section, ...]:
    """Every table of the configuration, in the order of a file; a table that two places share appears once."""
    schema = Config.model_json_schema()
    definitions: dict[str, Schema] = schema["$defs"]
    places: dict[str, str] = {}
    _place(schema, path="", definitions=definitions, places=places)
    order = list(schema["properties"])
    inner = sorted(places.items(), key=lambda place: order.index(place[1].split(".")[0]))
    return tuple(
        _section(table, path=path, places=places)
        for table, path in ((schema, ""), *((definitions[name], path) for name, path in inner))
    )


def page() -> str:
    """The whole of docs/settings.md."""
    return "\n".join([_HEAD, *(_text(section) for section in sections())])


def _place(table: Schema, *, path: str, definitions: dict[str, Schema], places: dict[str, str]) -> None:
    """Gives each definition that `table` reaches, and that has no place yet, the path at which it appears first."""
    new = []
    for key, value in table["properties"].items():
        for name, by_name in _tables(value):
            if name not in places:
                places[name] = ".".join(filter(None, (path, key, "NAME" if by_name else "")))
                new.append(name)
    for name in new:
        _place(definitions[name], path=places[name], definitions=definitions, places=places)


def _tables(value: Schema) -> Iterator[tuple[str, bool]]:
    """The definitions that a value may be an instance of, and whether they are the values of a table by name."""
    if "$ref" in value:
        yield value["$ref"].rsplit("/", 1)[-1], False
    for other in (*value.get("anyOf", ()), *value.get("oneOf", ())):
        yield from _tables(other)
    if isinstance(value.get("additionalProperties"), dict):
        yield from ((name, True) for name, _ in _tables(value["additionalProperties"]))


def _section(table: Schema, *, path: str, places: dict[str, str]) -> Section:
    required = table.get("required", ())
    meaning = " ".join(table["description"].split("]`: ")[-1].split())
    return Section(
        path=path,
        meaning=meaning[0].upper() + meaning[1:],
        keys=tuple(
            Key(
                name=name,
                values=_values(value, places=places),
                default="must be given" if name in required else _default(value),
                unit=_unit(value),
                meaning=value.get("description", ""),
            )
            for name, value in table["properties"].items()
        ),
    )


def _default(value: Schema) -> str:
    """As a file would write it; empty where the key has keys of its own, or stays out unless given."""
    default = value.get("default", {})  # a factory makes an empty table, and does not show in the schema
    if default is None or "$ref" in value:
        return ""
    return '`"inf"`' if default == float("inf") else f"`{json.dumps(default, ensure_ascii=False)}`"


def _unit(value: Schema) -> str:
    return next((part["unit"] for part in (value, *value.get("anyOf", ())) if "unit" in part), "")


def _values(value: Schema, *, places: dict[str, str]) -> str:
    """What a key may be, in words, joined by "or"."""
    if choices := value.get("anyOf") or value.get("oneOf"):
        return " or ".join(_values(choice, places=places) for choice in choices if choice.get("type") != "null")
    if "$ref" in value:
        path = places[value["$ref"].rsplit("/", 1)[-1]]
        return f"table [{path}](#{_anchor(path)})"
    match value["type"]:
        case "array":
            return f"list of: {_values(value['items'], places=places)}"
        case "object":
            return f"by name: {_values(value['additionalProperties'], places=places)}"
        case "string" | "boolean":
            return _words(value)
    return f"{value['type']} {_bounds(value)}".strip()


def _words(value: Schema) -> str:
    if value["type"] == "boolean":
        return "`true`, `false`"
    known = value.get("enum") or ([value["const"]] if "const" in value else [])
    if "pattern" in value:
        known = ["package.module:Name"]
    return ", ".join(f'`"{choice}"`' for choice in known) or "text"


def _bounds(value: Schema) -> str:
    if "minimum" in value and "maximum" in value:
        return f"from {value['minimum']:,} to {value['maximum']:,}"
    return ", ".join(f"{sign} {value[name]:,}" for name, sign in _BOUNDS if name in value)


def _anchor(path: str) -> str:
    """Where the heading of a table is, by the rule of GitHub."""
    return "".join(letter for letter in path.lower() if letter.isalnum() or letter in "_-")


def _text(section: Section) -> str:
    title = f"## `[{section.path}]`" if section.path else "## Top level"
    rows = [(f"`{key.name}`", key.values, key.default, key.unit, key.meaning) for key in section.keys]
    lines = [_row(_COLUMNS), _row(("---",) * len(_COLUMNS)), *(_row(row) for row in rows)]
    return "\n".join([title, "", section.meaning, "", *lines, ""])


def _row(cells: tuple[str, ...]) -> str:
    return f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |"


if __name__ == "__main__":
    sys.stdout.write(page())
