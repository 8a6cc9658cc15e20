"""Downloads as deltas: the same bits on both sides, half the bytes, nothing of what is malformed, and a whole run."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load, save

import fedpeft_secure
from fedpeft_secure import Config
from fedpeft_secure.adapters import AdapterSpec, AdapterState, Entry, Role
from fedpeft_secure.downloads import MAGIC, STEPS, pack_delta, settled, unpack_delta
from fedpeft_secure.errors import FedPeftError, PolicyError
from fedpeft_secure.events import Event, RoundFinished
from fedpeft_secure.plans import RoundPlan, pack_request, unpack_request
from fedpeft_secure.rundir import RunDirectory, read_rounds
from fedpeft_secure.server.job import training_run

MakeConfig = Callable[..., Config]
SPEC = AdapterSpec(
    entries=tuple(
        Entry(name=f"{name}.weight", shape=shape, role=Role.BODY, module=name)
        for name, shape in (("a", (40, 50)), ("b", (3, 1)), ("c", (7,)))
    )
)


def drawn(seed: int, scale: float = 1.0) -> AdapterState:
    rng = np.random.default_rng(seed)
    return AdapterState({entry.name: scale * rng.standard_normal(entry.shape) for entry in SPEC.entries})


def moved(state: AdapterState, seed: int, scale: float) -> AdapterState:
    change = drawn(seed, scale)
    return AdapterState({name: value + change[name] for name, value in state.values.items()})


def crafted(arrays: Mapping[str, np.ndarray], steps: list[float]) -> bytes:
    return MAGIC + save({**arrays, STEPS: np.array(steps, dtype=np.float64)})


@given(seed=st.integers(0, 2**32), start=st.sampled_from([0.0, 1e-3, 1.0, 1e4]), power=st.floats(-12, 6))
def test_both_sides_hold_the_same_bits_and_rounding_is_small(seed: int, start: float, power: float) -> None:
    first = drawn(seed, start)
    exact = moved(first, seed + 1, 10**power)
    state = settled(exact, first, bits=16)
    data = pack_delta(state, first)
    assert unpack_delta(data, first, SPEC).digest() == state.digest()
    for name, value in exact.values.items():
        largest = np.abs(value.astype(np.float64) - first[name]).max()
        allowed = 2.0**-15 * largest + 2.0**-23 * np.abs(value).max()  # the second for fp32 itself
        assert np.abs(state[name].astype(np.float64) - value).max() <= allowed


def test_a_value_takes_two_bytes() -> None:
    first = AdapterState({name: np.zeros_like(value) for name, value in drawn(0).values.items()})
    state = settled(drawn(1), first, bits=16)
    assert state.digest() != drawn(1).digest(), "it is rounded"
    overhead = len(MAGIC) + 500
    assert len(pack_delta(state, first)) <= 2 * SPEC.size + overhead < len(state.to_bytes())
    assert len(pack_delta(drawn(1), first)) >= 4 * SPEC.size, "what is not rounded is sent as it is"
    assert unpack_delta(pack_delta(drawn(1), first), first, SPEC).digest() == drawn(1).digest()


def test_settling_twice_is_settling_once() -> None:
    first = drawn(0)
    once = settled(moved(first, 1, 0.1), first, bits=16)
    assert settled(once, first, bits=16).digest() == once.digest()


def test_what_did_not_change_is_not_sent() -> None:
    first = drawn(0)
    state = settled(first.replace({"b.weight": first["b.weight"] + 1}), first, bits=16)
    data = pack_delta(state, first)
    assert set(load(data[len(MAGIC) :])) == {"b.weight", STEPS}
    assert unpack_delta(data, first, SPEC).digest() == state.digest()
    assert unpack_delta(pack_delta(first, first), first, SPEC).digest() == first.digest()


def test_minus_zero_arrives_as_minus_zero() -> None:
    first = AdapterState({name: np.zeros_like(value) for name, value in drawn(0).values.items()})
    state = first.replace({"c.weight": -first["c.weight"]})
    assert state.digest() != first.digest()
    assert unpack_delta(pack_delta(state, first), first, SPEC).digest() == state.digest()


@pytest.mark.parametrize("bits", [17, 24, 32])
def test_finer_uploads_get_unrounded_downloads(bits: int) -> None:
    assert settled(drawn(1), drawn(0), bits=bits).digest() == drawn(1).digest()
    assert settled(drawn(1), drawn(0), bits=8).digest() == settled(drawn(1), drawn(0), bits=16).digest()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (MAGIC, "no delta"),
        (MAGIC + b"garbage", "no delta"),
        (crafted({"d.weight": np.zeros(7, dtype=np.int16)}, [1.0]), "'d.weight' is not one of"),
        (crafted({"c.weight": np.zeros(8, dtype=np.int16)}, [1.0]), "'c.weight' is not one of"),
        (crafted({"c.weight": np.zeros(7, dtype=np.int32)}, [1.0]), "'c.weight' is not one of"),
        (crafted({"c.weight": np.zeros(7, dtype=np.int16)}, []), "'c.weight' is not finite"),
        (crafted({"c.weight": np.ones(7, dtype=np.int16)}, [np.inf]), "'c.weight' is not finite"),
        (crafted({"c.weight": np.full(7, np.nan, dtype=np.float32)}, []), "'c.weight' is not finite"),
        (crafted({"c.weight": np.zeros(7, dtype=np.int16)}, [1.0, 2.0]), "more steps"),
    ],
)
def test_what_is_no_delta_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(FedPeftError, match=message):
        unpack_delta(data, drawn(0), SPEC)


def test_a_request_with_a_delta_is_checked_as_any_other(make_plan: Callable[..., RoundPlan]) -> None:
    first = drawn(0)
    state = settled(moved(first, 1, 0.1), first, bits=16)
    plan = make_plan(model_hash=state.digest().hex())
    request = pack_request(plan, state, start=first)
    assert unpack_request(request, SPEC, start=first)[1].digest() == state.digest()
    assert unpack_request(pack_request(plan, state), SPEC, start=first)[1].digest() == state.digest()
    with pytest.raises(PolicyError, match="a model other than the one that its plan names"):
        unpack_request(request, SPEC, start=moved(first, 2, 1e-3))
    with pytest.raises(PolicyError, match="a change of an adapter that this party does not have"):
        unpack_request(request, SPEC)


def test_a_run_goes_on_from_what_it_sends(tiny_config: MakeConfig, tmp_path: Path) -> None:
    """Half the bytes, the same model to rounding; resumed after a round, the same bits."""
    base = {"aggregation.strategy": "fedit", "privacy.epsilon": "inf", "attacks.run": []}
    whole = fedpeft_secure.run(tiny_config(base), out=tmp_path / "whole")
    deltas = tiny_config({**base, "aggregation.downloads": "deltas"})
    halved = fedpeft_secure.run(deltas, out=tmp_path / "deltas")
    values = sum(
        value.size for value in load((tmp_path / "deltas/adapter/adapter_model.safetensors").read_bytes()).values()
    )
    saved = [
        one.download_bytes - other.download_bytes
        for one, other in zip(
            *(read_rounds(RunDirectory(root=tmp_path / run)) for run in ("whole", "deltas")), strict=True
        )
    ]
    assert saved[0] > 0.9 * 4 * values, "in the first round nothing has changed yet"
    assert 0.9 * 2 * values < saved[1] < saved[0], "A has no gradient while B is zero"
    assert halved.utility.loss == pytest.approx(whole.utility.loss, abs=1e-3)

    def stop(event: Event) -> None:
        if isinstance(event, RoundFinished) and event.record.round == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        training_run(deltas, tmp_path / "cut", resume=False, listen=stop).__enter__()
    assert fedpeft_secure.run(None, out=tmp_path / "cut", resume=True).utility == halved.utility
    hashes = [
        [record.model_hash for record in read_rounds(RunDirectory(root=tmp_path / run))]
        for run in ("deltas", "cut", "whole")
    ]
    assert hashes[0] == hashes[1] != hashes[2]


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        {"aggregation.strategy": "fedsvd", "attacks.run": ["span", "membership"]},
        {"aggregation.strategy": "fedex", "privacy.epsilon": "inf", "training.server_optimizer": "sgd"},
        {"aggregation.strategy": "fedask", "privacy.epsilon": "inf", "training.server_optimizer": "sgd"},
        {"aggregation.strategy": "fedit", "aggregation.sent_share": 0.5, "aggregation.sent_values": "last_sum"},
        {"aggregation.strategy": "fedit", "training.control_variates": True},
        {"peft.method": "lora_xs", "secure_sum.bits": 24},
        {"peft.method": "adalora", "secure_sum.bits": 8},
    ],
    ids=lambda settings: "-".join(str(value) for value in settings.values()),
)
def test_whatever_travels_with_the_adapter_arrives(
    settings: Mapping[str, object], tiny_config: MakeConfig, tmp_path: Path
) -> None:
    given_settings = {"training.server_learning_rate": 1.0} if "training.server_optimizer" in settings else {}
    config = tiny_config({"attacks.run": [], **given_settings, **settings, "aggregation.downloads": "deltas"})
    result = fedpeft_secure.run(config, out=tmp_path / "run")
    assert result.setup.warnings == ()
    assert all(len(record.survivors) == 5 for record in read_rounds(RunDirectory(root=tmp_path / "run")))
    assert {row.attack for row in result.attacks} == set(config.attacks.run)
