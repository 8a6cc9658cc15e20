import numpy as np
import pytest

from fedpeft_secure.aggregation.layout import Block, Layout, covered, ranges_of, unit_for

BLOCKS = (
    Block(owner="m", shape=(2, 3), unit=0.5),
    Block(owner="m", shape=(3,), unit=2.0),
    Block(owner="head", shape=(2,)),
)
LAYOUT = Layout(blocks=BLOCKS, clip=1.0)


def test_what_fits_comes_back_as_it_was() -> None:
    rng = np.random.default_rng(0)
    values = {"m": (rng.uniform(-0.4, 0.4, (2, 3)), rng.uniform(-1, 1, 3)), "head": (np.array([0.9, -0.9]),)}
    vector = LAYOUT.pack(values)
    assert vector.shape == (LAYOUT.size,) == (11,)
    assert np.abs(vector).max() <= 1
    found = LAYOUT.unpack(vector)
    assert all(np.allclose(a, b) for owner, blocks in values.items() for a, b in zip(blocks, found[owner], strict=True))


def test_all_blocks_of_an_owner_that_leaves_its_range_are_scaled_alike() -> None:
    """So that two sketches stay those of one product; other owners are not touched."""
    values = {"m": (np.full((2, 3), 2.0), np.ones(3)), "head": (np.array([0.5, 0.25]),)}
    found = LAYOUT.unpack(LAYOUT.pack(values))
    assert np.allclose(found["m"][0], 0.5)
    assert np.allclose(found["m"][1], 0.25)
    assert (found["head"][0] == [0.5, 0.25]).all()


def test_ranges_are_where_something_is_filled() -> None:
    assert ranges_of(np.array([1, 1, 0, 0, 1, 0, 1], dtype=bool)) == ((0, 2), (4, 5), (6, 7))
    assert ranges_of(np.zeros(3, dtype=bool)) == ()
    full, half = [np.ones(3, dtype=bool)], [np.array([1, 0, 0], dtype=bool)]
    assert covered({"a": full, "b": full}) == {}
    assert covered({"a": full, "b": half}) == {"a": ((0, 3),), "b": ((0, 1),)}


@pytest.mark.parametrize("largest", [1e-6, 0.3, 1.0, 17.0])
def test_a_unit_is_the_next_power_of_a_quarter(largest: float) -> None:
    unit = unit_for(largest, clip=2.0)
    assert largest / 2.0 <= unit * (1 + 1e-6) <= largest / 2.0 * 2**0.26
    assert (4 * np.log2(unit)) == pytest.approx(round(4 * np.log2(unit)))
    assert unit_for(0.0, clip=2.0) == 1.0
