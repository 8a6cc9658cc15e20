import math

import pytest

from evaluations.report import formatting as text


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.76349, "0.763"),
        (None, "–"),
        (math.nan, "–"),
        (math.inf, "∞"),
        (-math.inf, "−∞"),
        (-0.5, "−0.500"),
        (1234.5, "1,234.500"),
    ],
)
def test_number(value, expected):
    assert text.number(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (596.4, "596"),
        (41.26, "41.3"),
        (2.14, "2.14"),
        (9.996, "10.0"),
        (0.0421, "0.0421"),
        (2931.9, "2,930"),
        (0, "0"),
        (999.6, "1,000"),
    ],
)
def test_significant(value, expected):
    assert text.significant(value) == expected


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.00 kB"),
        (152_311, "152 kB"),
        (999_600, "1.00 MB"),
        (90_852_864, "90.9 MB"),
        (2.14e9, "2.14 GB"),
        (3e12, "3.00 TB"),
    ],
)
def test_data_size(count, expected):
    assert text.data_size(count).replace(text.NO_BREAK, " ") == expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0.421, "0.421 s"),
        (12.34, "12.3 s"),
        (59.94, "59.9 s"),
        (59.96, "1 min 00 s"),
        (221, "3 min 41 s"),
        (3599.7, "1 h 00 min"),
        (3725, "1 h 02 min"),
    ],
)
def test_duration(seconds, expected):
    assert text.duration(seconds).replace(text.NO_BREAK, " ") == expected


@pytest.mark.parametrize(
    ("value", "expected"), [(1e-5, "10⁻⁵"), (3.2e-6, "3.2 × 10⁻⁶"), (2e-6, "2 × 10⁻⁶"), (0, "0"), (9.99e-6, "10⁻⁵")]
)
def test_power_of_ten(value, expected):
    assert text.power_of_ten(value).replace(text.NO_BREAK, " ") == expected


def test_words():
    assert text.interval(0.1, None) == "–"
    assert text.interval(0.1, 0.25) == "0.100 to 0.250"
    assert text.shortest(8.0) == "8"
    assert text.shortest(0.15) == "0.15"
    assert text.shortest(math.inf) == "∞"
    assert text.count(1, "client") == f"1{text.NO_BREAK}client"
    assert text.count(7463, "example") == f"7,463{text.NO_BREAK}examples"
    assert text.relation_name("add_remove") == "add or remove"
    assert text.listed(("a",)) == "a"
    assert text.listed(("a", "b", "c")) == "a, b and c"
    assert " " not in text.privacy_pair(1.62, 1e-5)


def test_labels_end_where_a_picture_would_have_no_room():
    assert text.cut("a" * 40) == "a" * 40
    assert text.cut("a" * 41) == "a" * 39 + "…"
