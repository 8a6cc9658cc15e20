import math

import pytest

from attacks import AttackError
from attacks.membership import lira

IN, OUT = [2.0, 4.0], [-1.0, 1.0]  # population: N(3, 1) and N(0, 1)


def test_it_gives_the_known_answers() -> None:
    assert lira(2.0, IN, OUT) == pytest.approx(1.5, abs=1e-9)
    assert lira(2.0, IN, OUT, mode="offline") == pytest.approx(0.97725, abs=1e-5)


def test_it_uses_the_population_deviation_of_each_side() -> None:
    inside, outside = [0.0, 4.0], [-3.0, 3.0]
    expected = -math.log(2) - (1 - 2) ** 2 / 8 + math.log(3) + 1 / 18
    assert lira(1.0, inside, outside) == pytest.approx(expected)


def test_offline_does_not_read_the_in_side() -> None:
    assert lira(0.0, [], OUT, mode="offline") == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("inside", "outside", "mode"),
    [([1.0], OUT, "online"), (IN, [0.0, 0.0], "online"), (IN, [0.0, math.nan], "offline"), (IN, OUT, "both")],
)
def test_it_refuses_what_no_gaussian_fits(inside: list[float], outside: list[float], mode: str) -> None:
    with pytest.raises(AttackError):
        lira(0.0, inside, outside, mode=mode)  # type: ignore[arg-type]
