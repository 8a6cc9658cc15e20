"""What a round costs: all parties in one process, each timed on its own, over the same sessions and messages.

This is the only module here that looks at a clock.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from secagg.codec import FixedPoint
from secagg.crypto import seeded_entropy
from secagg.drive import drive
from secagg.errors import PlanError
from secagg.graph import count_up
from secagg.holder_request import PROTOCOLS as ONE_MESSAGE
from secagg.masked import MaskedSum
from secagg.messages import KEY_HOLDER, SERVER
from secagg.one_message import OneMessageSum
from secagg.plan import SumPlan
from secagg.session import Member
from secagg.simulate import Cohort, key_holder_session
from secagg.stopwatch import Meter, Seconds, Stopwatch

ENCODE: Final = "encode"
ASSUMED_FRACTION: Final = 0.1


@dataclass(frozen=True, kw_only=True, slots=True)
class SecureSumCost:
    """One measured round.

    Args: degree, threshold: of the graph of masks, None without one. seconds: all parties together. client_seconds: a
        surviving client's mean, by phase. server_seconds, key_holder_seconds: by phase, the latter empty where there
        is none. upload_bytes, download_bytes: of one surviving client over the round, on the wire. max_error: of the
        mean, from the exact mean of the survivors' vectors (uniform in ±clip, clip = 1).
    """

    protocol: str
    clients: int
    dim: int
    dropped: int
    server: str
    bits: int
    degree: int | None
    threshold: int | None
    seconds: float
    client_seconds: Seconds
    client_seconds_total: float
    server_seconds: Seconds
    server_seconds_total: float
    key_holder_seconds: Seconds
    key_holder_seconds_total: float
    upload_bytes: int
    download_bytes: int
    max_error: float


def measure(
    *,
    clients: int,
    dim: int,
    dropout: float,
    server: str,
    bits: int,
    protocol: str = MaskedSum.label,
    seed: int = 0,
    clock: Callable[[], float] = time.perf_counter,
) -> SecureSumCost:
    """Runs and times one round.

    Args: dropout: fraction of the clients that vanish before uploading. server: "curious" or "malicious". protocol:
        "masked", "helper", "bfv" or "ckks".
    Raises: PlanError, RoundFailedError.
    """
    if not 0 <= dropout < 1 or dim < 1:
        raise PlanError(f"dropout = {dropout} must be in [0, 1) and dim = {dim} at least 1")
    chosen = _protocol(protocol, clients=clients, dropout=dropout, server=server, bits=bits)
    rng, watch = np.random.default_rng(seed), Stopwatch(clock)
    names = tuple(f"client-{i:06}" for i in range(clients))
    gone = frozenset(rng.choice(names, size=math.floor(dropout * clients + 1e-9), replace=False).tolist())
    cohort = Cohort.with_key_holder(names, seeded_entropy(seed.to_bytes(8, "big")))
    signed = server == "malicious" or isinstance(chosen, OneMessageSum)
    plan = chosen.plan(clients=names, dim=dim, directory=cohort.directory if signed else None)
    exact: NDArray[np.float64] = np.zeros(dim)
    sessions = {}
    for name in names:
        vector = rng.uniform(-1.0, 1.0, dim)
        if name not in gone:
            exact += vector
        member = _member(name, cohort, chosen)
        start = clock()
        contribution = plan.encode(name, vector, rng=np.random.default_rng(seed))
        sessions[name] = watch.timed_client(chosen.client(plan, member=member, contribution=contribution))
        watch.add(name, ENCODE, start)
    meter = Meter(watched=next(name for name in names if name not in gone), gone=gone)
    holder = key_holder_session(chosen, plan, cohort)
    result = drive(
        watch.timed_server(chosen.server(plan, directory=cohort.directory)),
        sessions,
        meter,
        key_holder=None if holder is None else watch.timed_key_holder(holder),
    )
    max_error = float(np.abs(result.mean - exact / len(result.survivors)).max())
    return _cost(plan, server=server, bits=bits, gone=gone, watch=watch, meter=meter, max_error=max_error)


def _protocol(name: str, *, clients: int, dropout: float, server: str, bits: int) -> MaskedSum | OneMessageSum:
    """The protocol as it bears a tenth of corrupt clients; raises PlanError."""
    if server not in ("curious", "malicious"):
        raise PlanError(f'server = {server!r} must be "curious" or "malicious"')
    codec = FixedPoint(clip=1.0, bits=bits)
    if name == MaskedSum.label:
        return MaskedSum(
            codec=codec,
            malicious_server=server == "malicious",
            adversarial_fraction=ASSUMED_FRACTION,
            dropout_fraction=max(ASSUMED_FRACTION, dropout),
        )
    if name not in ONE_MESSAGE:
        raise PlanError(f"protocol = {name!r} must be one of {', '.join((MaskedSum.label, *ONE_MESSAGE))}")
    chosen = ONE_MESSAGE[name](codec=codec, min_cohort=count_up(clients, ASSUMED_FRACTION) + 2)
    if server == "malicious" and not chosen.malicious_server:
        raise PlanError(f'server = "malicious": the {name} sum does not bear a server that lies; give "curious"')
    return chosen


def _member(name: str, cohort: Cohort, protocol: MaskedSum | OneMessageSum) -> Member:
    return Member(
        name=name,
        identity=cohort.identities[name],
        directory=cohort.directory,
        adversarial_fraction=ASSUMED_FRACTION if isinstance(protocol, OneMessageSum) else 0.0,
    )


def _cost(
    plan: SumPlan,
    *,
    server: str,
    bits: int,
    gone: frozenset[str],
    watch: Stopwatch,
    meter: Meter,
    max_error: float,
) -> SecureSumCost:
    survivors = [watch.seconds[name] for name in plan.clients if name not in gone]
    means = {phase: sum(each[phase] for each in survivors) / len(survivors) for phase in survivors[0]}
    served, held = dict(watch.seconds[SERVER]), dict(watch.seconds[KEY_HOLDER])
    return SecureSumCost(
        protocol=plan.protocol,
        clients=len(plan.clients),
        dim=plan.dim,
        dropped=len(gone),
        server=server,
        bits=bits,
        degree=None if plan.graph is None else plan.graph.degree,
        threshold=None if plan.graph is None else plan.graph.threshold,
        seconds=sum(sum(each.values()) for each in watch.seconds.values()),
        client_seconds=means,
        client_seconds_total=sum(means.values()),
        server_seconds=served,
        server_seconds_total=sum(served.values()),
        key_holder_seconds=held,
        key_holder_seconds_total=sum(held.values()),
        upload_bytes=meter.upload_bytes,
        download_bytes=meter.download_bytes,
        max_error=max_error,
    )
