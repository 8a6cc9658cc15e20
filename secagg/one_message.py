"""Secure sums in which a client speaks once and a third party, the key holder, opens the sum; what they all share."""

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field

from secagg import rules
from secagg.codec import Codec, Encoded, FixedPoint
from secagg.crypto import Entropy, digest
from secagg.errors import CodecError, PlanError, RefusedError
from secagg.graph import count_up
from secagg.holder_memory import HolderMemory
from secagg.identity import Identity, KeyDirectory
from secagg.key_holder import Announced, KeyHolder, Start
from secagg.manifest import Manifest
from secagg.one_message_client import OneMessageClient, Waiting
from secagg.one_message_server import OneMessageServer
from secagg.one_message_wire import ANNOUNCE, OPEN, UPLOAD
from secagg.plan import SumPlan, plan_sum
from secagg.scheme import Scheme
from secagg.session import Member


@dataclass(frozen=True, kw_only=True, slots=True)
class OneMessageSum(ABC):
    """A secure sum in one client message.

    Guarantee: see SPEC.md part II; neither the server alone nor the key holder alone, nor clients with either, learn
        more than the sum over at least min_cohort signed clients.
    Assumes: server and key holder do not collude.
    Args: codec: the quantiser. min_cohort: fewest survivors.
    """

    codec: Codec = field(default_factory=lambda: FixedPoint(clip=1.0, bits=16))
    min_cohort: int = 3

    phases = (UPLOAD,)
    steps = (ANNOUNCE, UPLOAD, OPEN)
    """The phases that the server closes, in order."""
    needs_identities = True

    @property
    @abstractmethod
    def label(self) -> str:
        """The protocol's name in plans."""

    @property
    @abstractmethod
    def malicious_server(self) -> bool:
        """Whether the protocol withstands a server that lies."""

    @abstractmethod
    def scheme(self, plan: SumPlan) -> Scheme:
        """How contributions of this plan are hidden and opened; raises PlanError where they cannot be."""

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
        """Plans one round; see `MaskedSum.plan`.

        Raises: PlanError where the directory names no key holder, or the parameters cannot carry the sum.
        """
        if directory is None or not directory.key_holder:
            raise PlanError(f"the {self.label} sum needs a key directory that pins a key holder; add its public key")
        plan = plan_sum(
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
        self.scheme(plan)  # what no parameters can carry is refused here
        return plan

    def client(
        self, plan: SumPlan, *, member: Member, contribution: Encoded, entropy: Entropy = os.urandom
    ) -> OneMessageClient:
        """Opens a client's session after checking the plan from the client's side.

        Raises: RefusedError, PlanError, CodecError.
        """
        self._check_label(plan)
        rules.check_cohort(plan, member)
        identity, directory = rules.check_directory(plan, member)
        if member.malicious_server and not self.malicious_server:
            raise RefusedError(
                f"under the {self.label} sum a server that lies recovers the round's key with one forged ciphertext; "
                "use masked or helper, or trust the server to be curious only"
            )
        corrupt = count_up(rules.population_of(plan, member), member.adversarial_fraction)
        rules.check_fewest(plan, colluders=corrupt, own=member.name)
        if contribution.layout != plan.layout:
            raise CodecError("the contribution was encoded for another layout; encode it with this plan")
        rules.check_coverage(plan, member.name, contribution)
        waiting = Waiting(
            plan=plan,
            plan_digest=plan.digest(),
            scheme=self.scheme(plan),
            identity=identity,
            key_holder=directory.key_holder,
            contribution=contribution,
            contribution_digest=digest("contribution", contribution.to_bytes()),
            entropy=entropy,
        )
        return OneMessageClient(member.name, member.memory, waiting)

    def server(self, plan: SumPlan, *, directory: KeyDirectory | None = None) -> OneMessageServer:
        """Opens the server's session."""
        self._check_label(plan)
        if directory is None or not directory.key_holder:
            raise PlanError(f"the server of a {self.label} sum needs the key directory, to check signatures")
        return OneMessageServer(plan, plan.digest(), self.scheme(plan), directory)

    def key_holder(
        self,
        plan: SumPlan,
        *,
        identity: Identity,
        directory: KeyDirectory,
        memory: HolderMemory | None = None,
        min_cohort: int = 2,
        entropy: Entropy = os.urandom,
    ) -> KeyHolder:
        """Opens the third party's session: new, or waiting for its request if `memory` holds an announced key.

        Args: min_cohort: the least that this key holder accepts, whatever the plan says.
        Raises: RefusedError.
        """
        self._check_label(plan)
        if plan.directory != directory.fingerprint or identity.public != directory.key_holder:
            raise RefusedError("the plan names another key directory, or another key holder, than this one pinned")
        if strangers := set(plan.clients) - set(directory.members):
            raise RefusedError(f"{min(strangers)!r} is not in the key directory")
        if plan.min_cohort < max(min_cohort, 2):
            raise RefusedError(f"min_cohort = {plan.min_cohort} is below this key holder's {max(min_cohort, 2)}")
        known, plan_digest = memory or HolderMemory(), plan.digest()
        start = Start(
            plan=plan,
            plan_digest=plan_digest,
            scheme=self.scheme(plan),
            identity=identity,
            directory=directory,
            entropy=entropy,
        )
        if any(waiting.plan == plan_digest for waiting in known.open):
            return KeyHolder(known, Announced(start=start))
        known.check_new(plan_digest)
        return KeyHolder(known, start)

    def _check_label(self, plan: SumPlan) -> None:
        if plan.protocol != self.label:
            raise PlanError(f"the plan is for the {plan.protocol!r} sum, not for {self.label!r}")
