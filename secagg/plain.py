"""`PlainSum`: the ideal result without any protection; what every secure sum must equal."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from secagg.codec import Codec, Encoded, FixedPoint
from secagg.crypto import Entropy, digest
from secagg.errors import CodecError, PlanError, RoundFailedError, SessionSpentError, WireError
from secagg.identity import KeyDirectory
from secagg.manifest import Manifest
from secagg.memory import ClientMemory
from secagg.messages import SERVER, Envelope, Transcript
from secagg.plan import SumPlan, plan_sum
from secagg.session import Aggregate, Member, decode_sum

UPLOAD = "upload"


@dataclass(frozen=True, kw_only=True, slots=True)
class PlainSum:
    """A sum in the clear: the server sees every contribution.

    Guarantee: none but the codec's. Args: codec: the quantiser. min_cohort: fewest survivors.
    """

    codec: Codec = field(default_factory=lambda: FixedPoint(clip=1.0, bits=16))
    min_cohort: int = 1

    label = "plain"
    phases = (UPLOAD,)
    needs_identities = False

    def plan(
        self,
        *,
        clients: Sequence[str],
        dim: int,
        run: str = "",
        round: int = 0,
        attempt: int = 0,
        weights: Sequence[int] | None = None,
        summed_weights: bool = False,
        manifest: Manifest | None = None,
        directory: KeyDirectory | None = None,
        noised: bool = False,
        max_norm: float | None = None,
    ) -> SumPlan:
        """Plans one round; see `MaskedSum.plan`."""
        return plan_sum(
            protocol=self.label,
            codec=self.codec,
            min_cohort=self.min_cohort,
            clients=clients,
            dim=dim,
            run=run,
            round=round,
            attempt=attempt,
            weights=weights,
            summed_weights=summed_weights,
            manifest=manifest,
            directory=directory,
            noised=noised,
            max_norm=max_norm,
        )

    def client(
        self, plan: SumPlan, *, member: Member, contribution: Encoded, entropy: Entropy = os.urandom
    ) -> "PlainClient":
        """Opens a client's session."""
        del entropy  # nothing is hidden
        plan.position(member.name)
        if contribution.layout != plan.layout:
            raise CodecError("the contribution was encoded for another layout; encode it with this plan")
        return PlainClient(member.name, member.memory, plan, contribution.to_bytes())

    def server(self, plan: SumPlan, *, directory: KeyDirectory | None = None) -> "PlainServer":
        """Opens the server's session."""
        del directory
        return PlainServer(plan)


@dataclass(slots=True, eq=False)
class PlainClient:
    """Sends its contribution and is done."""

    name: str
    memory: ClientMemory
    _plan: SumPlan | None = field(repr=False)
    _payload: bytes = field(repr=False)

    @property
    def done(self) -> bool:
        """Whether the client has nothing left to say."""
        return not self._payload

    def step(self, inbox: tuple[Envelope, ...]) -> tuple["PlainClient", tuple[Envelope, ...]]:
        """Uploads; see `ClientSession.step`."""
        del inbox  # the server has nothing to say in a protocol of one message
        plan, payload = self._plan, self._payload
        self._plan, self._payload = None, b""
        if plan is None:
            raise SessionSpentError(f"session of {self.name!r} was already stepped or is over; start a new round")
        contribution = digest("contribution", payload)
        self.memory.check_start(plan, name=self.name, contribution=contribution)
        memory = self.memory.with_upload(
            plan, name=self.name, contribution=contribution, payload=digest("upload", payload)
        )
        envelope = Envelope(sender=self.name, recipient=SERVER, phase=UPLOAD, payload=payload)
        return PlainClient(self.name, memory, None, b""), (envelope,)


@dataclass(slots=True, eq=False)
class PlainServer:
    """Adds up what arrived."""

    plan: SumPlan
    result: Aggregate | None = None
    rejected: tuple[str, ...] = ()
    _spent: bool = False

    def step(self, inbox: tuple[Envelope, ...]) -> tuple["PlainServer", tuple[Envelope, ...]]:
        """Closes the only phase; see `ServerSession.step`."""
        if self._spent or self.result is not None:
            raise SessionSpentError("this server session was already stepped or is over; start a new round")
        self._spent = True
        plan, total, accepted, rejected = self.plan, self.plan.layout.zeros(), {}, []
        payloads: dict[str, set[bytes]] = {}
        for envelope in inbox:
            payloads.setdefault(envelope.sender, set()).add(envelope.payload)
        for name, sent in sorted(payloads.items()):
            try:
                accepted[name] = _accept(plan, name, sent)
            except (WireError, PlanError) as error:
                rejected.append(f"upload: {name}: {error}")
        if len(accepted) < plan.min_cohort:
            raise RoundFailedError(f"only {len(accepted)} clients uploaded, min_cohort = {plan.min_cohort}")
        for contribution in accepted.values():
            for sum_array, array in zip(total, contribution.residues, strict=True):
                np.add(sum_array, array, out=sum_array)
        plan.layout.reduce(total)
        return PlainServer(plan, decode_sum(plan, total, tuple(accepted)), tuple(rejected)), ()


def _accept(plan: SumPlan, name: str, sent: set[bytes]) -> Encoded:
    plan.position(name)
    if len(sent) > 1:
        raise WireError("sent two different messages")
    contribution = Encoded.from_bytes(next(iter(sent)))
    if contribution.layout != plan.layout:
        raise WireError("contribution has another layout than this round")
    return contribution


def read_contribution(transcript: Transcript, plan: SumPlan, client: str) -> NDArray[np.float64]:
    """Reads one client's vector back from the messages of a plain sum: all that a curious server needs to do.

    Returns: shape (dim,), the client's clipped and rounded vector (before its weight).
    Raises: WireError if the client's upload is not in the transcript.
    """
    uploads = transcript.between(sender=client, phase=UPLOAD)
    if not uploads or plan.protocol != PlainSum.label:
        raise WireError(f"the transcript holds no plain upload of {client!r}")
    contribution = _accept(plan, client, {envelope.payload for envelope in uploads})
    weight = plan.public_weight(client) or int(contribution.residues[1][0])
    return plan.codec.decode(plan.codec.centred(contribution.residues[0], layout=plan.layout), total_weight=weight)


def read_weight(transcript: Transcript, plan: SumPlan, client: str) -> int:
    """The weight of one client's contribution to a plain sum: public, or readable beside its values."""
    if public := plan.public_weight(client):
        return public
    payloads = {envelope.payload for envelope in transcript.between(sender=client, phase=UPLOAD)}
    return int(_accept(plan, client, payloads).residues[1][0])
