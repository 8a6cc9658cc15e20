"""A plan as bytes, for a key holder that runs on its own; what clients signed is the digest, which covers all of it."""

import struct

from secagg.codec import Codec, FixedPoint
from secagg.errors import PlanError, WireError
from secagg.manifest import DIGEST_BYTES, Entry, Manifest
from secagg.plan import SumPlan
from secagg.residues import ModularIntegers
from secagg.wire import Reader, Writer

MAGIC = b"FSP\x01"
MAX_PLAN_BYTES = 1 << 24
"""Enough for 100,000 clients with rows of their own; parsing takes seconds at most."""
_CODEC_FORMAT = ">ddBI"
_CODEC_BYTES = struct.calcsize(_CODEC_FORMAT)


def encode_plan(plan: SumPlan) -> bytes:
    """Encodes the plan of a sum in one message; raises PlanError for plans with a graph."""
    if plan.graph is not None:
        raise PlanError("only plans of sums in one message travel to a key holder; this one has a graph")
    writer = Writer(MAGIC).text(plan.protocol).text(plan.run)
    writer.uint(plan.round, num_bytes=8).uint(plan.attempt, num_bytes=8).uint(len(plan.clients), num_bytes=4)
    for name in plan.clients:
        writer.text(name)
    writer.uint(plan.dim, num_bytes=8).raw(plan.codec.parameters())
    writer.uint(len(plan.weights or ()), num_bytes=4).raw(
        struct.pack(f">{len(plan.weights or ())}I", *(plan.weights or ()))
    )
    writer.uint(plan.min_cohort, num_bytes=4)
    plan.manifest.write(writer)
    writer.blob(plan.directory).uint(plan.noised, num_bytes=1)
    return writer.raw(struct.pack(">d", -1.0 if plan.max_norm is None else plan.max_norm)).done()


def decode_plan(data: bytes) -> SumPlan:
    """Inverts `encode_plan`; raises WireError, PlanError or CodecError."""
    if len(data) > MAX_PLAN_BYTES:
        raise WireError(f"plan of {len(data)} bytes is larger than {MAX_PLAN_BYTES}")
    reader = Reader(data=data, what="plan").magic(MAGIC)
    protocol, run = reader.text(), reader.text()
    number, attempt = reader.uint(num_bytes=8), reader.uint(num_bytes=8)
    clients = _names(reader, count=reader.uint(num_bytes=4))
    dim = reader.uint(num_bytes=8)
    codec = _codec(reader.raw(_CODEC_BYTES))
    weights = [reader.uint(num_bytes=4) for _ in range(reader.uint(num_bytes=4))]
    min_cohort = reader.uint(num_bytes=4)
    manifest = _read_manifest(reader)
    directory, noised = reader.blob(), reader.uint(num_bytes=1)
    (max_norm,) = struct.unpack(">d", reader.raw(8))
    reader.end()
    if noised > 1:
        raise WireError("plan: a flag is neither 0 nor 1")
    return SumPlan(
        protocol=protocol,
        run=run,
        round=number,
        attempt=attempt,
        clients=clients,
        dim=dim,
        codec=codec,
        weights=tuple(weights) or None,
        min_cohort=min_cohort,
        manifest=manifest,
        directory=directory,
        noised=bool(noised),
        max_norm=None if max_norm == -1.0 else max_norm,
    )


def _names(reader: Reader, *, count: int) -> tuple[str, ...]:
    """Ascending names; one byte could hold an empty one, so a hostile plan is refused at the first that is repeated."""
    names: list[str] = []
    for _ in range(count):
        name = reader.text()
        if names and name <= names[-1]:
            raise WireError("plan: names are not unique and sorted")
        names.append(name)
    return tuple(names)


def _codec(parameters: bytes) -> Codec:
    """Inverts the codecs' `parameters`: only integers modulo 2^bits have no clip."""
    clip, max_saturated, bits, max_weight = struct.unpack(_CODEC_FORMAT, parameters)
    if clip != 0:
        return FixedPoint(clip=clip, bits=bits, max_weight=max_weight, max_saturated=max_saturated)
    wrapping = ModularIntegers(bits=bits)
    if wrapping.parameters() != parameters:
        raise WireError("plan: integers modulo 2^bits have neither saturation nor weights")
    return wrapping


def _read_manifest(reader: Reader) -> Manifest:
    parts, entries = {}, {}
    for _ in range(reader.uint(num_bytes=4)):
        name = reader.text()
        parts[name] = reader.raw(DIGEST_BYTES)
    for _ in range(reader.uint(num_bytes=4)):
        client = reader.text()
        listed = reader.uint(num_bytes=4)
        if listed > len(parts):
            raise WireError(f"plan: {client!r} is sent {listed} parts, there are {len(parts)}")
        sent = tuple([reader.text() for _ in range(listed)])
        covered = tuple([(reader.uint(num_bytes=8), reader.uint(num_bytes=8)) for _ in range(reader.uint(num_bytes=4))])
        entries[client] = Entry(parts=sent, covered=covered)
    return Manifest(parts=parts, entries=entries)
