from collections.abc import Callable

import numpy as np
import pytest

from fedpeft_secure.aggregation import combine


def reference(pairs: list[tuple[np.ndarray, np.ndarray]], rank: int) -> tuple[np.ndarray, np.ndarray]:
    """The paper's: pad with zeros, weigh by the norm of the product, cut."""
    d, n, slots = len(pairs[0][0]), len(pairs[0][1][0]), max(len(a) for _, a in pairs)
    b_sum, a_sum, total = np.zeros((d, slots)), np.zeros((slots, n)), 0.0
    for b, a in pairs:
        norm = np.sqrt(((b @ a) ** 2).sum())
        b_sum[:, : len(a)] += norm * b
        a_sum[: len(a)] += norm * a
        total += norm
    return b_sum[:, :rank] / total, a_sum[:rank] / total


@pytest.mark.parametrize("rank", [1, 2, 4])
@pytest.mark.parametrize("secure_sum", [None, "plain", "masked"])
def test_padded_means_weighed_by_norms(rank: int, secure_sum: str | None, make_clients: Callable) -> None:
    pairs, weights = make_clients(0, 8, 6, (2, 4, 1, 4, 4, 3))
    scaled = [(b * (1 + number), a) for number, (b, a) in enumerate(pairs)]
    b, a = combine("hetlora", scaled, weights=weights, rank=rank, secure_sum=secure_sum)
    want_b, want_a = reference(scaled, rank)
    tolerance = 1e-12 if secure_sum is None else 2e-3
    assert np.allclose(b, want_b, atol=tolerance * np.abs(want_b).max())
    assert np.allclose(a, want_a, atol=tolerance * np.abs(want_a).max())


def test_a_slot_that_two_clients_fill_is_not_sent(make_clients: Callable) -> None:
    pairs, weights = make_clients(1, 8, 6, (2, 4, 1, 4, 2, 3))
    with pytest.raises(
        ValueError, match=r"^hetlora: slot 4 is filled by 2 clients, fewer than min_cohort = 3, so the sum"
    ):
        combine("hetlora", pairs, weights=weights, rank=4, secure_sum="masked")
    combine("hetlora", pairs, weights=weights, rank=3, secure_sum="masked")
    combine("hetlora", pairs, weights=weights, rank=4, secure_sum="plain")


def test_clients_that_have_not_moved_have_no_weights() -> None:
    with pytest.raises(ValueError, match=r"^hetlora: every product B_k A_k is zero: nothing to weigh by; train first"):
        combine("hetlora", [(np.zeros((4, 2)), np.ones((2, 3)))] * 2, weights=[1, 1], rank=2)


def test_an_answer_above_every_rank_has_empty_slots(make_clients: Callable) -> None:
    pairs, weights = make_clients(2, 8, 6, (2, 1))
    b, a = combine("hetlora", pairs, weights=weights, rank=5)
    assert (b.shape, a.shape) == ((8, 5), (5, 6))
    assert (b[:, 2:] == 0).all()
