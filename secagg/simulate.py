"""One round with all parties in this process: the same sessions and messages as over a network."""

import os
from collections.abc import Mapping, Set
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from secagg.codec import Codec, Encoded
from secagg.crypto import Entropy, seeded_entropy
from secagg.drive import Recorder, drive
from secagg.errors import PlanError
from secagg.holder_memory import HolderMemory
from secagg.identity import Identity, KeyDirectory
from secagg.key_holder import KeyHolder
from secagg.manifest import Manifest
from secagg.masked_messages import PHASES
from secagg.one_message import OneMessageSum
from secagg.plan import SumPlan
from secagg.session import Aggregate, ClientSession, Member, ServerSession


class SecureSum(Protocol):
    """The ideal functionality: what `PlainSum`, `MaskedSum` and the others realise, and must equal."""

    @property
    def codec(self) -> Codec:
        """The quantiser."""

    @property
    def min_cohort(self) -> int:
        """Fewest survivors of a sum that may be opened."""

    @property
    def needs_identities(self) -> bool:
        """Whether members must bring an identity and the key directory."""

    @property
    def phases(self) -> tuple[str, ...]:
        """The phases in which clients send."""

    def plan(
        self,
        *,
        clients: tuple[str, ...],
        dim: int,
        run: str = "",
        round: int = 0,
        attempt: int = 0,
        weights: tuple[int, ...] | None = None,
        summed_weights: bool = False,
        manifest: Manifest | None = None,
        directory: KeyDirectory | None = None,
        noised: bool = False,
        max_norm: float | None = None,
    ) -> SumPlan:
        """Plans one round."""

    def client(
        self, plan: SumPlan, *, member: Member, contribution: Encoded, entropy: Entropy = os.urandom
    ) -> ClientSession:
        """Opens a client's session."""

    def server(self, plan: SumPlan, *, directory: KeyDirectory | None = None) -> ServerSession:
        """Opens the server's session."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cohort:
    """Identities of simulated parties, and the directory that pins them."""

    identities: Mapping[str, Identity]
    directory: KeyDirectory
    key_holder: Identity | None = None

    @classmethod
    def with_key_holder(cls, names: tuple[str, ...], entropy: Entropy = os.urandom) -> "Cohort":
        """The same identities, and a key holder's that is pinned beside them."""
        clients, holder = cls.generate(names, entropy), Identity.generate(entropy)
        directory = replace(clients.directory, key_holder=holder.public)
        return cls(identities=clients.identities, directory=directory, key_holder=holder)

    @classmethod
    def generate(cls, names: tuple[str, ...], entropy: Entropy = os.urandom) -> "Cohort":
        """Makes one identity a name."""
        identities = {name: Identity.generate(entropy) for name in names}
        directory = KeyDirectory(members={name: identity.public for name, identity in identities.items()})
        return cls(identities=identities, directory=directory)


def simulate(
    protocol: SecureSum,
    vectors: Mapping[str, NDArray[np.floating]],
    *,
    weights: Mapping[str, int] | None = None,
    drop: Mapping[str, Set[str]] | None = None,
    seed: int | None = None,
) -> Aggregate:
    """Runs one round of `protocol` over `vectors`.

    Args: vectors: {client: shape (dim,)}. weights: positive integers, summed in the protocol; None: all 1, public.
        drop: {phase: clients that vanish before sending that message}, phases advertise share upload confirm unmask.
        seed: makes the round reproducible; None: secure randomness.
    Raises: ProtocolError.
    """
    if not vectors:
        raise PlanError("no vectors; a sum needs at least one client")
    names = tuple(sorted(vectors))
    if weights is not None and set(weights) != set(names):
        raise PlanError("weights must name exactly the clients of vectors")
    entropy = os.urandom if seed is None else seeded_entropy(seed.to_bytes(16, "big", signed=True))
    plan, cohort = _plan(protocol, names, dim=len(next(iter(vectors.values()))), weights=weights, entropy=entropy)
    rng = np.random.default_rng(int.from_bytes(entropy(16), "big"))
    clients = {}
    for name in names:
        weight = None if weights is None else weights[name]
        contribution = plan.encode(name, np.asarray(vectors[name]), weight=weight, rng=rng)
        member = Member(
            name=name,
            identity=None if cohort is None else cohort.identities[name],
            directory=None if cohort is None else cohort.directory,
            malicious_server=withstands_lies(protocol),
        )
        clients[name] = protocol.client(plan, member=member, contribution=contribution, entropy=entropy)
    server = protocol.server(plan, directory=None if cohort is None else cohort.directory)
    holder = None if cohort is None else key_holder_session(protocol, plan, cohort, entropy=entropy)
    return drive(server, clients, Recorder(drop=_drops(protocol, drop or {}, names)), key_holder=holder)


def withstands_lies(protocol: SecureSum) -> bool:
    """Whether clients of `protocol` may insist on a server that lies being refused."""
    if isinstance(protocol, OneMessageSum):
        return protocol.malicious_server
    return protocol.needs_identities


def key_holder_session(
    protocol: SecureSum,
    plan: SumPlan,
    cohort: Cohort,
    *,
    memory: HolderMemory | None = None,
    entropy: Entropy = os.urandom,
) -> KeyHolder | None:
    """The simulated third party's session; None for protocols without one, and for cohorts without one."""
    if not isinstance(protocol, OneMessageSum) or cohort.key_holder is None:
        return None
    return protocol.key_holder(
        plan, identity=cohort.key_holder, directory=cohort.directory, memory=memory, entropy=entropy
    )


def _plan(
    protocol: SecureSum, names: tuple[str, ...], *, dim: int, weights: Mapping[str, int] | None, entropy: Entropy
) -> tuple[SumPlan, Cohort | None]:
    cohort = None
    if protocol.needs_identities:
        generate = Cohort.with_key_holder if isinstance(protocol, OneMessageSum) else Cohort.generate
        cohort = generate(names, entropy)
    directory = None if cohort is None else cohort.directory
    if weights is not None and protocol.codec.max_weight is None:
        largest = max([1, *(int(weight) for weight in weights.values())])
        protocol = replace(protocol, codec=replace(protocol.codec, max_weight=largest))  # type: ignore[type-var]
    plan = protocol.plan(clients=names, dim=dim, directory=directory, summed_weights=weights is not None)
    return plan, cohort


def _drops(protocol: SecureSum, drop: Mapping[str, Set[str]], names: tuple[str, ...]) -> dict[str, set[str]]:
    """Moves each drop to the first message of `protocol` that the client would not have sent."""
    drops: dict[str, set[str]] = {}
    for phase, clients in drop.items():
        if phase not in PHASES:
            raise PlanError(f"drop: unknown phase {phase!r}; use one of {', '.join(PHASES)}")
        if strangers := set(clients) - set(names):
            raise PlanError(f"drop: {min(strangers)!r} is not one of the clients")
        first = next((p for p in PHASES[PHASES.index(phase) :] if p in protocol.phases), None)
        if first is not None:
            drops.setdefault(first, set()).update(clients)
    return drops
