"""What a page is made of: sections of prose, facts, tables and charts. All of it is text; the templates escape it."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from evaluations.report import formatting

Tone = Literal["plain", "muted", "good", "warn", "bad"]

FEWEST_TO_FILTER = 5
"""Rows from which a table has a filter box."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Notice:
    """Something that a reader must know before any number."""

    kind: ClassVar = "notice"
    title: str
    body: str
    tone: Tone


@dataclass(frozen=True, kw_only=True, slots=True)
class Bar:
    """A bar from 0 to 1 with an optional mark, and what it says to somebody who cannot see it."""

    share: float
    mark: float | None
    label: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """One of the answers at the head of the page."""

    question: str
    value: str
    unit: str
    lines: tuple[str, ...]
    tone: Tone = "plain"
    bar: Bar | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Chart:
    """One chart: its element's id, its caption, its words for a screen reader, and plotly's JSON."""

    kind: ClassVar = "chart"
    name: str
    caption: str
    label: str
    height: int
    figure: dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """What stands in one place of a table.

    Args:
        text: as it is shown.
        value: what it sorts by, where that is not the text; "" for nothing there, which sorts last.
        tone: how it looks.
        note: a second, smaller line.
    """

    text: str
    value: float | str | None = None
    tone: Tone = "plain"
    note: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """A table that sorts by any column and, with more than a few rows, filters; the first cell of a row names it."""

    kind: ClassVar = "table"
    name: str
    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]

    def __post_init__(self) -> None:
        odd = next((row for row in self.rows if len(row) != len(self.columns)), None)
        if odd is not None:
            raise ValueError(f"table {self.name}: a row of {len(odd)} cells under {len(self.columns)} columns")


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """Names and values, one below another."""

    kind: ClassVar = "facts"
    title: str
    pairs: tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Prose:
    """Paragraphs, under a title where there is one."""

    kind: ClassVar = "prose"
    paragraphs: tuple[str, ...]
    title: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Listing:
    """Sentences as a list, under a title where there is one."""

    kind: ClassVar = "listing"
    items: tuple[str, ...]
    title: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Meanings:
    """Terms, and what each of them means and does not."""

    kind: ClassVar = "meanings"
    entries: tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """A file as it is: a configuration, a command."""

    kind: ClassVar = "source"
    label: str
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Multiples:
    """Small charts with axes of one kind, under a common caption."""

    kind: ClassVar = "multiples"
    charts: tuple[Chart, ...]
    caption: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """Blocks side by side where there is room."""

    kind: ClassVar = "pair"
    blocks: tuple["Block", ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Folded:
    """Blocks that a reader opens."""

    kind: ClassVar = "folded"
    summary: str
    blocks: tuple["Block", ...]


Block = Notice | Chart | Table | Facts | Prose | Listing | Meanings | Source | Multiples | Pair | Folded


@dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    """A numbered part of the page; `name` is its address, `link` its short title in the navigation."""

    name: str
    title: str
    link: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Document:
    """A whole page.

    Args:
        eyebrow: what kind of page it is.
        title, subtitle: its heading; the second part is set back.
        lead: what was done, in a sentence or two.
        notices: above or below the answers, the bad ones above.
        answers: what most readers came for.
        sections: everything else.
        origin: the directory's name.
        version: of the software that made the results.
    """

    eyebrow: str
    title: str
    subtitle: str = ""
    lead: str
    notices: tuple[Notice, ...] = ()
    answers: tuple[Answer, ...] = ()
    sections: tuple[Section, ...]
    origin: str
    version: str

    @property
    def charts(self) -> tuple[Chart, ...]:
        """Every chart of the page."""
        return tuple(chart for section in self.sections for chart in charts_of(section.blocks))


def charts_of(blocks: tuple[Block, ...]) -> Iterator[Chart]:
    """Every chart in some blocks, in their order."""
    for block in blocks:
        match block:
            case Chart():
                yield block
            case Multiples(charts=charts):
                yield from charts
            case Pair(blocks=inner) | Folded(blocks=inner):
                yield from charts_of(inner)
            case _:
                pass


def number_cell(value: float | None, *, digits: int = 3, tone: Tone = "plain", note: str = "") -> Cell:
    """A number that sorts as one; an absent one sorts last."""
    return Cell(text=formatting.number(value, digits=digits), value=sort_key(value), tone=tone, note=note)


def interval_cell(low: float | None, high: float | None, *, tone: Tone = "plain") -> Cell:
    """Both ends of an interval, sorted by the lower one."""
    return Cell(text=formatting.interval(low, high), value=sort_key(low), tone=tone)


def size_cell(count_bytes: float | None) -> Cell:
    """A number of bytes."""
    text = formatting.ABSENT if count_bytes is None else formatting.data_size(count_bytes)
    return Cell(text=text, value=sort_key(count_bytes))


def duration_cell(seconds: float | None) -> Cell:
    """A time."""
    text = formatting.ABSENT if seconds is None else formatting.duration(seconds)
    return Cell(text=text, value=sort_key(seconds))


def sort_key(value: float | None) -> float | str:
    """What the page's script reads as a number; nothing for what is absent."""
    if value is None or math.isnan(value):
        return ""
    return {float("inf"): "Infinity", float("-inf"): "-Infinity"}.get(value, value)
