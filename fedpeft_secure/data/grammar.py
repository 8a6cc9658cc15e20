"""Writes a message of a given class about a given topic, from templates and word lists."""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np

_SLOT = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Grammar:
    """Templates with named slots, and the words that fill them.

    Args:
        class_names: what a message can be; `cores` has the templates of each.
        cores: the sentences that tell the class.
        topic_words: the words of each topic, by slot.
        words: the words that any topic shares, by slot.
        openings: first sentences, which tell the topic only.
        closings: last sentences, which tell neither; some are empty.
    """

    class_names: tuple[str, ...]
    cores: tuple[tuple[str, ...], ...]
    topic_words: tuple[Mapping[str, tuple[str, ...]], ...]
    words: Mapping[str, tuple[str, ...]]
    openings: tuple[str, ...]
    closings: tuple[str, ...]

    def write(self, *, label: int, topic: int, rng: np.random.Generator) -> str:
        """One message of about thirty words: opening, core and closing, filled at random."""
        words = {**self.words, **self.topic_words[topic]}
        templates = (self.openings, self.cores[label], self.closings)
        message = " ".join(_pick(choices, rng) for choices in templates).rstrip()
        return _SLOT.sub(lambda slot: _pick(words[slot.group(1)], rng), message)


@cache
def load_grammar() -> Grammar:
    """The grammar that ships with the package: eight classes, eight topics."""
    tables = tomllib.loads(files("fedpeft_secure.data").joinpath("grammar.toml").read_text(encoding="utf-8"))
    return Grammar(
        class_names=tuple(table["name"] for table in tables["classes"]),
        cores=tuple(tuple(table["cores"]) for table in tables["classes"]),
        topic_words=tuple({slot: tuple(table[slot]) for slot in ("place", "aspect")} for table in tables["topics"]),
        words={slot: tuple(choices) for slot, choices in tables["words"].items()},
        openings=tuple(tables["openings"]),
        closings=tuple(tables["closings"]),
    )


def _pick(choices: tuple[str, ...], rng: np.random.Generator) -> str:
    return choices[rng.integers(len(choices))]
