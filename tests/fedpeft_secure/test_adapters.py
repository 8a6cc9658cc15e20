import dataclasses
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save as save_safetensors

from fedpeft_secure.adapters import AdapterSpec, AdapterState, Entry, Role, flatten, unflatten
from fedpeft_secure.errors import FedPeftError


def entry(name: str, *shape: int, role: Role = Role.HEAD, module: str = "m") -> Entry:
    return Entry(name=name, shape=shape, role=role, module=module)


SPEC = AdapterSpec(
    entries=(
        entry("head.bias", 2),
        entry("head.weight", 2, 3),
        entry("layer.lora_A.weight", 2, 4, role=Role.LORA_A, module="layer"),
        entry("layer.lora_B.weight", 5, 2, role=Role.LORA_B, module="layer"),
    )
)
STATE = AdapterState(unflatten(np.arange(SPEC.size, dtype=np.float32), SPEC))

shapes = st.lists(st.integers(1, 4), max_size=3).map(tuple)
specs = st.dictionaries(st.text(min_size=1, max_size=6), shapes, min_size=1, max_size=5).map(
    lambda names: AdapterSpec(entries=tuple(entry(name, *names[name]) for name in sorted(names)))
)


@given(spec=specs, seed=st.integers(0, 1000))
def test_unflatten_inverts_flatten(spec: AdapterSpec, seed: int) -> None:
    vector = np.random.default_rng(seed).standard_normal(spec.size).astype(np.float32)
    values = unflatten(vector, spec)
    assert [(name, value.shape) for name, value in values.items()] == [(e.name, e.shape) for e in spec.entries]
    assert (flatten(AdapterState(values), spec) == vector).all()


@given(spec=specs, seed=st.integers(0, 1000))
def test_bytes_survive_the_round_trip(spec: AdapterSpec, seed: int) -> None:
    vector = np.random.default_rng(seed).standard_normal(spec.size).astype(np.float32)
    state = AdapterState(unflatten(vector, spec))
    again = AdapterState.from_bytes(state.to_bytes(), spec)
    assert (flatten(again, spec) == vector).all()
    assert again.digest() == state.digest()


def test_flatten_takes_a_part_in_canonical_order() -> None:
    part = SPEC.only((Role.LORA_B, Role.HEAD))
    assert part.names == ("head.bias", "head.weight", "layer.lora_B.weight")
    assert flatten(STATE, part).tolist() == [*range(8), *range(16, 26)]
    assert flatten(STATE, part).dtype == np.float32


@pytest.mark.parametrize("size", [0, SPEC.size - 1, SPEC.size + 1])
def test_a_vector_of_another_length_is_refused(size: int) -> None:
    with pytest.raises(FedPeftError, match=rf"expected {SPEC.size} values, got an array of shape \({size},\)"):
        unflatten(np.zeros(size), SPEC)


def test_a_matrix_is_no_vector() -> None:
    with pytest.raises(FedPeftError, match="expected 26 values"):
        unflatten(np.zeros((SPEC.size, 1)), SPEC)


def test_what_a_structure_says_of_itself() -> None:
    assert SPEC.size == 26
    assert SPEC.modules == ("layer",)
    assert SPEC.name_of("layer", Role.LORA_B) == "layer.lora_B.weight"
    assert entry("scalar").size == 1


@pytest.mark.parametrize("names", [("b", "a"), ("a", "a")])
def test_tensors_are_sorted_and_unique(names: tuple[str, ...]) -> None:
    with pytest.raises(FedPeftError, match="sorted by name and unique"):
        AdapterSpec(entries=tuple(entry(name, 1) for name in names))


def test_values_are_copied_and_read_only() -> None:
    given_values = np.ones(3)
    state = AdapterState({"a": given_values})
    given_values[0] = 7
    assert state["a"].tolist() == [1, 1, 1]
    assert state["a"].dtype == np.float32
    with pytest.raises(ValueError, match="read-only"):
        state["a"][0] = 2
    with pytest.raises(TypeError):
        state.values["a"] = np.zeros(3)  # type: ignore[index]
    with pytest.raises(dataclasses.FrozenInstanceError):
        state.values = {}  # type: ignore[misc]


def test_values_are_kept_in_canonical_order() -> None:
    assert list(AdapterState({"b": np.zeros(1), "a": np.zeros(1)}).values) == ["a", "b"]


def test_replace_exchanges_some_and_refuses_strangers() -> None:
    changed = STATE.replace({"head.bias": np.array([9.0, 9.0])})
    assert changed["head.bias"].tolist() == [9, 9]
    assert STATE["head.bias"].tolist() == [0, 1]
    with pytest.raises(FedPeftError, match=r"no tensor 'head\.bios' in this adapter"):
        STATE.replace({"head.bios": np.zeros(2)})


@given(position=st.integers(0, SPEC.size - 1))
def test_the_digest_changes_with_any_value(position: int) -> None:
    vector = flatten(STATE, SPEC).copy()
    vector[position] = np.nextafter(vector[position], np.float32(np.inf))
    assert AdapterState(unflatten(vector, SPEC)).digest() != STATE.digest()


def test_the_digest_changes_with_any_name_or_shape() -> None:
    values = {"a": np.zeros((2, 3)), "b": np.zeros(2)}
    variants = [
        values,
        {"a": np.zeros((3, 2)), "b": np.zeros(2)},
        {"a": np.zeros(6), "b": np.zeros(2)},
        {"aa": np.zeros((2, 3)), "b": np.zeros(2)},
        {"a": np.zeros((2, 3))},
        {"a": np.zeros((2, 3)), "b": np.zeros(2), "c": np.zeros(0)},
    ]
    assert len({AdapterState(variant).digest() for variant in variants}) == len(variants)


def test_the_digest_does_not_depend_on_order_or_memory_layout() -> None:
    matrix = np.arange(6, dtype=np.float32).reshape(2, 3)
    one = AdapterState({"a": matrix, "b": np.ones(1)})
    two = AdapterState({"b": np.ones(1), "a": np.asfortranarray(matrix)})
    assert one.digest() == two.digest()


@given(st.binary(max_size=200))
def test_noise_is_no_adapter(data: bytes) -> None:
    with pytest.raises(FedPeftError, match="no safetensors adapter"):
        AdapterState.from_bytes(data, SPEC)


@given(cut=st.integers(1, 400))
def test_a_cut_message_is_no_adapter(cut: int) -> None:
    with pytest.raises(FedPeftError):
        AdapterState.from_bytes(STATE.to_bytes()[:-cut], SPEC)


def test_a_pickle_is_refused_unread() -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, ...]:
            return (pytest.fail, ("a pickle was executed",))

    with pytest.raises(FedPeftError, match="no safetensors adapter"):
        AdapterState.from_bytes(pickle.dumps(Bomb()), SPEC)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"head.bias": np.zeros(3, np.float32)}, "'head.bias' has a wrong shape or type, or is not finite"),
        ({"head.bias": np.zeros(2, np.float64)}, "'head.bias' has a wrong shape or type"),
        ({"head.bias": np.zeros(2, np.int32)}, "'head.bias' has a wrong shape or type"),
        ({"head.bias": np.array([0, np.nan], np.float32)}, "not finite"),
        ({"head.weight": np.full((2, 3), np.inf, np.float32)}, "not finite"),
        ({"head.weight": np.zeros((3, 2), np.float32)}, "'head.weight' has a wrong shape"),
        ({"stranger": np.zeros(1, np.float32)}, "tensors are not those of the agreed structure"),
    ],
)
def test_hostile_tensors_are_refused(change: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(FedPeftError, match=message):
        AdapterState.from_bytes(save_safetensors({**STATE.values, **change}), SPEC)


def test_a_missing_tensor_is_refused() -> None:
    values = {name: value for name, value in STATE.values.items() if name != "head.bias"}
    with pytest.raises(FedPeftError, match="not those of the agreed structure"):
        AdapterState.from_bytes(save_safetensors(values), SPEC)
