from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import secagg
from fedpeft_secure.aggregation import Reads, combine, combine_module
from fedpeft_secure.aggregation.base import MixedRanks, Weighing
from fedpeft_secure.aggregation.one_module import FACTOR_STRATEGIES, STACKING, STATEFUL

SUMS = tuple(FACTOR_STRATEGIES)
MIXED = tuple(name for name, kind in FACTOR_STRATEGIES.items() if kind.mixed_ranks is not MixedRanks.REFUSED)
SHARED_A = ("ffa", "fedsvd")
Pairs = list[tuple[np.ndarray, np.ndarray]]


def share(pairs: Pairs) -> Pairs:
    """The same B beside the first rows of one A."""
    whole = max((a for _, a in pairs), key=len)
    return [(b, whole[: len(a)]) for b, a in pairs]


def fitting(strategy: str, pairs: Pairs) -> Pairs:
    return share(pairs) if strategy in SHARED_A else pairs


def equal_clients(make_clients: Callable, strategy: str) -> tuple[Pairs, np.ndarray]:
    pairs, weights = make_clients(0, 40, 30, (3,) * 6)
    return fitting(strategy, pairs), weights


def test_the_contracts_strategies_are_there() -> None:
    wanted = "fedit ffa fedsvd hetlora flexlora fedex lora_fair fedask product_sketch"
    assert sorted(SUMS) == sorted(wanted.split())
    assert STACKING.name == "flora"
    assert sorted(STATEFUL) == sorted(["rolora", "fed_sb", "fedsa", "rank_slots"])
    assert all(kind.reads in (Reads.SUM, Reads.TWO_SUMS) for kind in FACTOR_STRATEGIES.values())


@pytest.mark.parametrize("secure_sum", ["plain", "masked", secagg.MaskedSum(malicious_server=False)])
@pytest.mark.parametrize("strategy", SUMS)
def test_through_a_secure_sum_as_without(
    strategy: str, secure_sum: secagg.SecureSum | str, make_clients: Callable
) -> None:
    pairs, weights = equal_clients(make_clients, strategy)
    exact = combine(strategy, pairs, weights=weights, rank=3)
    found = combine(strategy, pairs, weights=weights, rank=3, secure_sum=secure_sum)
    difference = np.linalg.norm(found[0] @ found[1] - exact[0] @ exact[1])
    assert 0 < difference < 2e-3 * np.linalg.norm(exact[0] @ exact[1])


@pytest.mark.parametrize("secure_sum", ["helper", "bfv", "ckks"])
@pytest.mark.parametrize("strategy", ["product_sketch", "lora_fair"])
def test_every_protocol_gives_what_the_plain_sum_gives(strategy: str, secure_sum: str, make_clients: Callable) -> None:
    pairs, weights = equal_clients(make_clients, strategy)
    plain, found = (combine(strategy, pairs, weights=weights, rank=3, secure_sum=own) for own in ("plain", secure_sum))
    difference = np.linalg.norm(found[0] @ found[1] - plain[0] @ plain[1])
    assert difference < 2e-3 * np.linalg.norm(plain[0] @ plain[1])


@pytest.mark.parametrize("secure_sum", ["plain", "masked"])
@pytest.mark.parametrize("strategy", MIXED)
def test_mixed_ranks_through_a_secure_sum(strategy: str, secure_sum: str, make_clients: Callable) -> None:
    """Three clients fill the largest slot, so that slots may be sent."""
    pairs, weights = make_clients(1, 40, 30, (1, 4, 2, 4, 3, 4))
    pairs = fitting(strategy, pairs)
    exact = combine(strategy, pairs, weights=weights, rank=4)
    found = combine(strategy, pairs, weights=weights, rank=4, secure_sum=secure_sum)
    difference = np.linalg.norm(found[0] @ found[1] - exact[0] @ exact[1])
    assert 0 < difference < 2e-3 * np.linalg.norm(exact[0] @ exact[1])


@pytest.mark.parametrize(
    "strategy", [name for name in MIXED if FACTOR_STRATEGIES[name].mixed_ranks is MixedRanks.SLOTS]
)
def test_slots_of_few_clients_are_refused(strategy: str, make_clients: Callable) -> None:
    pairs, weights = make_clients(1, 8, 7, (1, 4, 2, 4, 3, 3))
    with pytest.raises(ValueError, match=rf"^{strategy}: slot 4 is filled by 2 clients, fewer than min_cohort = 3"):
        combine(strategy, fitting(strategy, pairs), weights=weights, rank=4, secure_sum="masked")


@pytest.mark.parametrize("strategy", [*SUMS, "flora"])
def test_no_client_is_forgotten(strategy: str, make_clients: Callable) -> None:
    """Known bug: a misspelt name drops all clients but the first. Each one must change the answer."""
    pairs, weights = equal_clients(make_clients, strategy)
    b, a = combine(strategy, pairs, weights=weights, rank=3)
    for client in range(len(pairs)):
        moved = list(pairs)
        moved[client] = (2 * pairs[client][0], pairs[client][1])
        other = combine(strategy, moved, weights=weights, rank=3)
        assert np.linalg.norm(other[0] @ other[1] - b @ a) > 1e-2 * np.linalg.norm(b @ a)


@pytest.mark.parametrize("strategy", [name for name in SUMS if FACTOR_STRATEGIES[name].weighing is Weighing.GIVEN])
def test_a_client_of_weight_two_is_two_clients(strategy: str, make_clients: Callable) -> None:
    pairs, _ = equal_clients(make_clients, strategy)
    once = combine(strategy, pairs[:3], weights=[1, 2, 1], rank=3)
    twice = combine(strategy, [pairs[0], pairs[1], pairs[1], pairs[2]], weights=[1, 1, 1, 1], rank=3)
    assert np.allclose(once[0] @ once[1], twice[0] @ twice[1], atol=1e-10)


@given(
    strategy=st.sampled_from([*SUMS, "flora"]),
    shape=st.tuples(st.integers(5, 12), st.integers(5, 12)),
    ranks=st.lists(st.integers(1, 3), min_size=1, max_size=5),
    scale=st.floats(1e-6, 1e6),
    seed=st.integers(0, 1000),
)
def test_order_of_clients_and_scale_of_weights_do_not_matter(
    make_clients: Callable, *, strategy: str, shape: tuple[int, int], ranks: list[int], scale: float, seed: int
) -> None:
    d, n = shape
    if strategy not in (*MIXED, "flora") or strategy in SHARED_A:
        ranks = [3] * len(ranks)
    pairs, weights = make_clients(seed, d, n, ranks)
    pairs = fitting(strategy, pairs)
    b, a = combine(strategy, pairs, weights=weights, rank=3, seed=seed)
    highest = {"flora": sum(ranks), "fedex": min(sum(ranks), d, n)}.get(strategy, 3)
    assert b.shape[0] == d
    assert a.shape[1] == n
    assert b.shape[1] == a.shape[0] <= highest
    assert b.dtype == a.dtype == np.float64
    order = np.random.default_rng(seed).permutation(len(ranks))
    other = combine(strategy, [pairs[k] for k in order], weights=scale * weights[order], rank=3, seed=seed)
    assert np.allclose(other[0] @ other[1], b @ a, atol=1e-7 * np.linalg.norm(b @ a))


@pytest.mark.parametrize("strategy", ["fedask", "product_sketch"])
def test_answers_are_a_function_of_the_seed(strategy: str, make_clients: Callable) -> None:
    pairs, weights = make_clients(0, 60, 50, (4,) * 6)
    one, two, other = (combine(strategy, pairs, weights=weights, rank=4, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(one[0] @ one[1], two[0] @ two[1])
    assert not np.allclose(one[0] @ one[1], other[0] @ other[1])


@pytest.mark.parametrize(
    ("strategy", "sent"),
    [
        ("fedit", (210,)),
        ("ffa", (120,)),
        ("fedsvd", (120,)),
        ("hetlora", (211,)),
        ("lora_fair", (210, 120)),
        ("flexlora", (1200,)),
        ("fedex", (1410,)),
        ("flora", (210,)),
        ("fedask", (40 * 9, 30 * 9)),
        ("product_sketch", (70 * 9,)),
    ],
)
def test_what_is_sent_is_counted(strategy: str, sent: tuple[int, ...], make_clients: Callable) -> None:
    """The table of docs/aggregation.md at d = 40, n = 30, r = 3; sketches have six columns more than the rank."""
    pairs, weights = equal_clients(make_clients, strategy)
    found = combine_module(strategy, pairs, weights=weights, rank=3)
    assert found.values_sent == sent
    assert (found.relative_error is None) == (strategy != "product_sketch")


@pytest.mark.parametrize("strategy", ["fedit", "fedsvd", "lora_fair"])
def test_mixed_ranks_are_refused_where_slots_mean_nothing(strategy: str, make_clients: Callable) -> None:
    pairs, weights = make_clients(0, 6, 5, (1, 3))
    with pytest.raises(ValueError, match=rf"^{strategy}: clients have ranks 1 to 3, it needs equal ones; choose "):
        combine(strategy, fitting(strategy, pairs), weights=weights, rank=3)


@pytest.mark.parametrize("strategy", ["fedit", "ffa", "fedsvd", "lora_fair"])
def test_a_smaller_rank_is_refused_by_those_that_keep_the_clients(strategy: str, make_clients: Callable) -> None:
    pairs, weights = equal_clients(make_clients, strategy)
    with pytest.raises(ValueError, match=rf"^{strategy}: keeps the clients' rank 3, above rank = 2; raise it, or"):
        combine(strategy, pairs, weights=weights, rank=2)


@pytest.mark.parametrize("strategy", SHARED_A)
def test_different_a_are_refused_where_a_is_frozen(strategy: str, make_clients: Callable) -> None:
    pairs, weights = make_clients(0, 6, 5, (2, 2))
    with pytest.raises(ValueError, match=rf"^{strategy}: clients hold different A; every A_k must be"):
        combine(strategy, pairs, weights=weights, rank=2)


@pytest.mark.parametrize("strategy", STATEFUL)
def test_stateful_strategies_say_why(strategy: str, make_clients: Callable) -> None:
    pairs, weights = make_clients(0, 6, 5, (2, 2))
    with pytest.raises(ValueError, match=rf"^{strategy}: .+; combine runs fedask, .+ only$"):
        combine(strategy, pairs, weights=weights, rank=2)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("FedIT", "strategy: no strategy 'FedIT'; did you mean 'fedit'?"),
        ("product-sketch", "strategy: no strategy 'product-sketch'; did you mean 'product_sketch'?"),
        ("lorafair", "strategy: no strategy 'lorafair'; did you mean 'lora_fair'?"),
        ("xyz", "strategy: no strategy 'xyz'; there are fed_sb, fedask, fedex, fedit, fedsa, "),
    ],
)
def test_an_unknown_strategy_names_the_nearest(name: str, message: str, make_clients: Callable) -> None:
    pairs, weights = make_clients(0, 6, 5, (2, 2))
    with pytest.raises(ValueError, match=r"^strategy: no strategy") as caught:
        combine(name, pairs, weights=weights, rank=2)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1], r"^weights: shape \(1,\) for 2 clients; give one each"),
        ([[1, 2]], r"^weights: shape \(1, 2\)"),
        ([1, 0], "^weights: all must be finite and positive"),
        ([1, -1], "^weights: all must be finite and positive"),
        ([1, float("nan")], "^weights: all must be finite and positive"),
        ([1, float("inf")], "^weights: all must be finite and positive"),
        (["a", "b"], "^weights: .* values; pass real numbers"),
    ],
)
def test_weights_that_are_none(weights: list[float], message: str, make_clients: Callable) -> None:
    pairs, _ = make_clients(0, 6, 5, (2, 2))
    with pytest.raises(ValueError, match=message):
        combine("fedit", pairs, weights=weights, rank=2)


@pytest.mark.parametrize("rank", [0, -1, 2.5, True, None])
def test_a_rank_that_is_none(rank: object, make_clients: Callable) -> None:
    pairs, weights = make_clients(0, 6, 5, (2, 2))
    with pytest.raises(ValueError, match=r"^rank = .* must be a whole number of at least 1"):
        combine("flexlora", pairs, weights=weights, rank=rank)  # type: ignore[arg-type]


def test_a_protocol_that_is_none(make_clients: Callable) -> None:
    pairs, weights = make_clients(0, 6, 5, (2, 2))
    with pytest.raises(ValueError, match=r"^secure_sum: no protocol 'mask'; there are bfv, ckks, helper, masked, pl"):
        combine("fedit", pairs, weights=weights, rank=2, secure_sum="mask")


def test_a_protocol_of_integers_is_refused(make_clients: Callable) -> None:
    pairs, weights = make_clients(0, 6, 5, (2, 2))
    with pytest.raises(ValueError, match=r"^secure_sum: its codec takes integers, factors are real; give it a FixedP"):
        combine("fedit", pairs, weights=weights, rank=2, secure_sum=secagg.PlainSum(codec=secagg.ModularIntegers()))


def test_a_cohort_too_small_for_the_protocol_is_its_own_error(make_clients: Callable) -> None:
    pairs, weights = make_clients(0, 6, 5, (2, 2))
    with pytest.raises(secagg.ProtocolError, match="cannot bear"):
        combine("fedit", pairs, weights=weights, rank=2, secure_sum="masked")


def test_nan_is_refused_before_anything_is_sent(make_clients: Callable) -> None:
    pairs, weights = make_clients(0, 6, 5, (2, 2))
    pairs[1][0][0, 0] = np.nan
    with pytest.raises(ValueError, match=r"^factors\[1\]: B holds NaN or infinity"):
        combine("flexlora", pairs, weights=weights, rank=2)
