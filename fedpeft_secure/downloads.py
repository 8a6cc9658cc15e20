"""Downloads as deltas: what changed since the run's start, which everybody derives, at the precision of the uploads.

A delta from the start, and not from the last round, is the same for all clients, whatever rounds they missed and
whoever was restarted, and nobody has to remember what it was sent. A tensor that is what it was at the start is left
out; of the others the change is rounded to 16-bit multiples of a power of two, or, where uploads are finer than 16
bits, the new values are sent as they are.

The server goes on with the rounded adapter, so that nothing has to be fed back, and both sides hold the same bits:
what is read is compared with the plan's model hash. Rounding moves a value by at most 2⁻¹⁵ of its tensor's largest
change so far.
"""

import math

import numpy as np
from safetensors.numpy import load, save

from fedpeft_secure.adapters import AdapterSpec, AdapterState
from fedpeft_secure.errors import FedPeftError

MAGIC = b"fpdelta\xff"
"""Read as the length of a safetensors header, it is far beyond any: whole adapters are never taken for deltas."""

STEPS = "steps"
"""Of the rounded tensors in order, one each; tensors of adapters have dots in their names."""

LARGEST = 2**15 - 1
COARSEST_BITS = 16
"""Finer uploads get unrounded downloads. Coarser ones do not get coarser: no mean over clients makes up for it."""


def settled(state: AdapterState, start: AdapterState, *, bits: int) -> AdapterState:
    """The adapter as a delta brings it over: what the server goes on with.

    Args:
        state: after the server's step.
        start: before the first round.
        bits: of one uploaded value.
    """
    if bits > COARSEST_BITS:
        return state
    return AdapterState({name: _rounded(value, start[name]) for name, value in state.values.items()})


def pack_delta(state: AdapterState, start: AdapterState) -> bytes:
    """What `state` changed since `start`: 16 bits a value where these say it exactly, else the new values."""
    sent: dict[str, np.ndarray] = {}
    steps: list[float] = []
    for name, value in state.values.items():
        if _same(value, start[name]):
            continue
        step = _step(value, start[name])
        codes = _codes(value, start[name], step)
        if _same(_decoded(codes, start[name], step), value):
            sent[name] = codes
            steps.append(step)
        else:
            sent[name] = value
    return MAGIC + save({**sent, STEPS: np.array(steps, dtype=np.float64)})


def unpack_delta(data: bytes, start: AdapterState, spec: AdapterSpec) -> AdapterState:
    """Reads `pack_delta` strictly.

    Raises:
        FedPeftError: If the bytes are no delta of this structure.
    """
    try:
        sent = load(data[len(MAGIC) :])
    except Exception as error:
        raise FedPeftError("these bytes are no delta") from error
    steps = list(sent.pop(STEPS, np.zeros(0)).reshape(-1))
    shapes = {entry.name: entry.shape for entry in spec.entries}
    values = dict(start.values)
    for name in sorted(sent):
        change = sent[name]
        if shapes.get(name) != change.shape or change.dtype not in (np.int16, np.float32):
            raise FedPeftError(f"the delta's tensor {name!r} is not one of the agreed structure")
        if change.dtype == np.int16:
            step = float(steps.pop(0)) if steps else math.nan
            values[name] = _decoded(change, start[name], step)
        else:
            values[name] = change
        if not np.isfinite(values[name]).all():
            raise FedPeftError(f"the delta's tensor {name!r} is not finite")
    if steps:
        raise FedPeftError("the delta has more steps than rounded tensors")
    return AdapterState(values)


def _rounded(value: np.ndarray, start: np.ndarray) -> np.ndarray:
    step = _step(value, start)
    return value if step == 0 else _decoded(_codes(value, start, step), start, step)


def _step(value: np.ndarray, start: np.ndarray) -> float:
    """The smallest power of two at which 16 bits hold the largest change; 0 where nothing changed.

    A hair is let through at the edge, where rounding to fp32 would lift what was rounded before over it.
    """
    largest = float(np.abs(value.astype(np.float64) - start).max(initial=0.0))
    return 2.0 ** math.ceil(math.log2(largest / (LARGEST + 0.25))) if largest > 0 else 0.0


def _codes(value: np.ndarray, start: np.ndarray, step: float) -> np.ndarray:
    exact = (value.astype(np.float64) - start) / step if step else np.zeros(value.shape)
    return np.clip(np.rint(exact), -LARGEST, LARGEST).astype(np.int16)


def _decoded(codes: np.ndarray, start: np.ndarray, step: float) -> np.ndarray:
    with np.errstate(over="ignore", invalid="ignore"):
        return (start.astype(np.float64) + codes * step).astype(np.float32)


def _same(one: np.ndarray, other: np.ndarray) -> bool:
    """Bit for bit: the hash of a model tells 0 from −0."""
    return one.tobytes() == other.tobytes()
