import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

import secagg
from secagg.manifest import Entry, Manifest, part_digest

LOW, HIGH = part_digest(b"ranks 0-4"), part_digest(b"ranks 4-8")
MIXED = Manifest(
    parts={"low": LOW, "high": HIGH},
    entries={
        "a": Entry(parts=("low", "high"), covered=((0, 10),)),
        "b": Entry(parts=("low", "high"), covered=((0, 10),)),
        "c": Entry(parts=("low",), covered=((0, 4), (6, 8))),
    },
)


def test_who_was_sent_what():
    assert MIXED.sent_to("a") == {"low": LOW, "high": HIGH}
    assert MIXED.sent_to("c") == {"low": LOW}
    assert MIXED.covered_by("c", dim=10) == ((0, 4), (6, 8))
    assert Manifest.whole_model(LOW).sent_to("anybody") == {"model": LOW}
    assert Manifest().covered_by("anybody", dim=10) == ((0, 10),)


def test_the_model_is_what_was_sent_under_whatever_names():
    renamed = Manifest(parts={"x": LOW, "y": HIGH})
    assert renamed.model_digest("z") == MIXED.model_digest("a")
    assert MIXED.model_digest("a") != MIXED.model_digest("c")


def test_fewest_fillers():
    assert MIXED.fewest_fillers(("a", "b", "c"), dim=10) == 2
    assert MIXED.fewest_fillers(("a", "c"), dim=10) == 1
    assert MIXED.fewest_fillers(("c",), dim=10) == 1
    assert Manifest().fewest_fillers(("a", "b", "c"), dim=10) == 3
    nobody = Manifest(entries={"a": Entry(parts=(), covered=())})
    assert nobody.fewest_fillers(("a",), dim=10) == 0


def test_a_hostile_number_of_ranges_is_counted_quickly():
    """A hundred clients with five hundred ranges each, all different: cuts times ranges would take hours."""
    names = tuple(f"c{i:03}" for i in range(100))
    entries = {
        name: Entry(parts=(), covered=tuple((1000 * j + i, 1000 * j + i + 500) for j in range(500)))
        for i, name in enumerate(names)
    }
    started = time.perf_counter()
    assert Manifest(entries=entries).fewest_fillers(names, dim=600_000) == 1
    assert time.perf_counter() - started < 5


@given(st.lists(st.sets(st.integers(0, 12), max_size=6), min_size=1, max_size=5))
def test_fewest_fillers_against_counting(bounds):
    rows = [sorted(row)[: len(row) // 2 * 2] for row in bounds]
    entries = {
        str(i): Entry(parts=(), covered=tuple(zip(row[::2], row[1::2], strict=True))) for i, row in enumerate(rows)
    }
    counts = [sum(any(a <= x < b for a, b in entry.covered) for entry in entries.values()) for x in range(12)]
    assert Manifest(entries=entries).fewest_fillers(tuple(entries), dim=12) == min(filter(None, counts), default=0)


def test_the_digest_covers_everything():
    changed = [
        Manifest(parts=MIXED.parts),
        Manifest(parts={**MIXED.parts, "low": HIGH}, entries=MIXED.entries),
        Manifest(parts=MIXED.parts, entries={**MIXED.entries, "c": Entry(parts=("high",), covered=((0, 4), (6, 8)))}),
        Manifest(parts=MIXED.parts, entries={**MIXED.entries, "c": Entry(parts=("low",), covered=((0, 4), (6, 9)))}),
        Manifest(parts=MIXED.parts, entries={n: e for n, e in MIXED.entries.items() if n != "c"}),
        Manifest(parts=MIXED.parts, entries={"d" if n == "c" else n: e for n, e in MIXED.entries.items()}),
    ]
    assert len({manifest.digest for manifest in (MIXED, *changed)}) == 7


@pytest.mark.parametrize(
    ("parts", "entry", "message"),
    [
        ({"x": b"short"}, None, "32 needed"),
        ({}, Entry(parts=("x",), covered=()), "unknown part"),
        ({}, Entry(parts=(), covered=((3, 3),)), "not ascending"),
        ({}, Entry(parts=(), covered=((0, 4), (3, 8))), "not ascending"),
        ({}, Entry(parts=(), covered=((-1, 4),)), "not ascending"),
    ],
)
def test_broken_manifests(parts, entry, message):
    with pytest.raises(secagg.PlanError, match=message):
        Manifest(parts=parts, entries={} if entry is None else {"a": entry})
