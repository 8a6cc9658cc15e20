import numpy as np
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from fedpeft_secure.seeds import Seed

paths = st.lists(st.one_of(st.integers(0, 100), st.sampled_from(["round", "client", "noise"])), max_size=4).map(tuple)


@given(root=st.integers(0, 2**63), path=paths)
def test_a_name_always_gives_the_same_stream(root: int, path: tuple[str | int, ...]) -> None:
    one, two = (Seed(root).child(*path).random(3) for _ in range(2))
    assert (one == two).all()


@given(root=st.integers(0, 2**63), one=paths, two=paths)
def test_other_names_give_other_streams(root: int, one: tuple[str | int, ...], two: tuple[str | int, ...]) -> None:
    assume(one != two)
    assert Seed(root).entropy(*one) != Seed(root).entropy(*two)


def test_other_roots_give_other_streams() -> None:
    assert len({Seed(root).entropy("round", 1) for root in range(100)}) == 100


def test_entropy_has_128_bits_and_uses_them() -> None:
    drawn = [Seed(0).entropy("x", index) for index in range(200)]
    assert all(0 <= value < 2**128 for value in drawn)
    assert max(value.bit_length() for value in drawn) > 120


def test_the_stream_is_pinned_so_that_old_runs_can_be_repeated() -> None:
    assert Seed(0).entropy("cohort", "round", 3) == 317608562654110470956569140539294194852


def test_torch_generators_have_the_same_names() -> None:
    one, two = (torch.randn(3, generator=Seed(5).torch_child("a")) for _ in range(2))
    assert torch.equal(one, two)
    assert not torch.equal(one, torch.randn(3, generator=Seed(5).torch_child("b")))


def test_streams_look_independent() -> None:
    one, two = (Seed(1).child("noise", "client", client).standard_normal(20_000) for client in (1, 2))
    assert abs(np.corrcoef(one, two)[0, 1]) < 0.03
