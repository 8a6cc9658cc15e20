from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from fedpeft_secure import Config
from fedpeft_secure.adapters import AdapterSpec, AdapterState, Entry, Role
from fedpeft_secure.allocation.allotment import Allotment, first_slots, layer_of, masked
from fedpeft_secure.allocation.deal import deal_allotments
from fedpeft_secure.errors import ConfigError


def entry(name: str, role: Role, shape: tuple[int, ...]) -> Entry:
    return Entry(name=name, role=role, shape=shape, module=name.rsplit(".", 2)[0] if "lora" in name else "head")


def make_spec(layers: int = 3, rank: int = 4, d: int = 6, n: int = 5) -> AdapterSpec:
    entries = [entry("head.weight", Role.HEAD, (2, 3))]
    for layer in range(layers):
        for target in ("query", "value"):
            module = f"encoder.layer.{layer}.{target}"
            entries += [
                entry(f"{module}.lora_A.weight", Role.LORA_A, (rank, n)),
                entry(f"{module}.lora_B.weight", Role.LORA_B, (d, rank)),
            ]
    return AdapterSpec(entries=tuple(sorted(entries, key=lambda found: found.name)))


def test_everything_unless_said_otherwise() -> None:
    spec = make_spec()
    assert Allotment(client="c").part_of(spec) == spec
    assert first_slots(spec, Allotment(client="c")) == {}
    assert first_slots(spec, Allotment(client="c", rank=9)) == {}


@pytest.mark.parametrize(("layers", "kept"), [(1, {2}), (2, {1, 2}), (3, {0, 1, 2}), (7, {0, 1, 2})])
def test_the_top_layers_are_kept_with_the_head(layers: int, kept: set[int]) -> None:
    part = Allotment(client="c", layers=layers).part_of(make_spec())
    assert {layer_of(found) for found in part.entries} == {*kept, None}
    assert "head.weight" in part.names


def test_named_targets_only_whatever_the_architecture_calls_them() -> None:
    part = Allotment(client="c", targets=("value",)).part_of(make_spec())
    assert {module.rsplit(".", 1)[-1] for module in part.modules} == {"value"}
    bert_name = Allotment(client="c", targets=("query",))
    distilbert = AdapterSpec(entries=(entry("layer.0.q_lin.lora_A.weight", Role.LORA_A, (2, 3)),))
    assert bert_name.part_of(distilbert) == distilbert


def test_slots_beyond_the_rank_are_zero_in_tuned_modules_only() -> None:
    spec, rng = make_spec(), np.random.default_rng(0)
    state = AdapterState({found.name: rng.standard_normal(found.shape) for found in spec.entries})
    allotment = Allotment(client="c", rank=1, layers=1)
    cut = masked(state, first_slots(spec, allotment))
    for found in spec.entries:
        tuned = layer_of(found) == 2
        held = {Role.LORA_A: (slice(0, 1),), Role.LORA_B: (slice(None), slice(0, 1))}.get(found.role, ())
        expected = state[found.name].copy()
        if tuned:
            expected[:] = 0
            expected[held] = state[found.name][held]
        assert (cut[found.name] == expected).all()


@pytest.mark.parametrize("change", [{"rank": -1}, {"layers": -2}, {"local_steps": 0}])
def test_impossible_parts_are_refused(change: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=rf"Allotment\.{next(iter(change))} = .* of client-1 must be at least"):
        Allotment(client="client-1", **change)


def test_ranks_are_dealt_in_turn(tiny_config: Callable[..., Config]) -> None:
    config = tiny_config({"peft.rank": 4, "allocation.ranks": [1, 4, 2]})
    assert [allotment.rank for allotment in deal_allotments(config)] == [1, 0, 2, 1, 0]
    assert {allotment.local_steps for allotment in deal_allotments(config)} == {1}


def test_or_by_name(tiny_config: Callable[..., Config]) -> None:
    config = tiny_config({"peft.rank": 4, "allocation.ranks": {"client-2": 3}})
    assert [allotment.rank for allotment in deal_allotments(config)] == [0, 3, 0, 0, 0]
    assert tuple(allotment.client for allotment in deal_allotments(config)) == config.client_names


def test_without_ranks_nobody_has_terms_of_its_own(tiny_config: Callable[..., Config]) -> None:
    config = tiny_config()
    plain = Allotment(client="")
    assert {replace(allotment, client="") for allotment in deal_allotments(config)} == {plain}


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ({"allocation.ranks": [2, 8]}, "allocation.ranks: 8 is above peft.rank = 2; lower it, or raise peft.rank"),
        ({"allocation.ranks": {"bob": 1}}, "allocation.ranks: no client 'bob'; names run from client-1 to client-5"),
        ({"allocation.ranks": [1], "peft.method": "bitfit"}, "peft.method = 'bitfit' has no factors"),
    ],
)
def test_what_cannot_be_dealt(overrides: dict[str, object], said: str, tiny_config: Callable[..., Config]) -> None:
    with pytest.raises(ConfigError) as caught:
        deal_allotments(tiny_config(overrides))
    assert said in str(caught.value)
