"""`MaskedSum`: pairwise and self masks on a proven graph; the server learns the sum of the survivors."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field

from secagg.client import MaskedClient
from secagg.client_states import Public, Start
from secagg.codec import Codec, Encoded, FixedPoint
from secagg.crypto import Entropy, digest
from secagg.errors import CodecError, PlanError
from secagg.graph import plan_for_counts, plan_graph
from secagg.identity import KeyDirectory
from secagg.manifest import Manifest
from secagg.masked_messages import CONFIRM, PHASES
from secagg.plan import SumPlan, plan_sum
from secagg.rules import check_coverage, check_plan
from secagg.server import MaskedServer
from secagg.session import Member
from secagg.signing import Signer


@dataclass(frozen=True, kw_only=True, slots=True)
class MaskedSum:
    """A secure sum by masks.

    Guarantee: see SPEC.md; the server and up to the planned corrupt clients learn the sum over the honest survivors,
        and a server that lies (`malicious_server`) is refused.
    Does not cover: a client's well-formed lie about its own vector; what the sum itself reveals.
    Args: codec: the quantiser. malicious_server: adds identities, signatures and the consistency round. min_cohort:
        fewest survivors. adversarial_fraction, dropout_fraction: what the graph must bear.
    """

    codec: Codec = field(default_factory=lambda: FixedPoint(clip=1.0, bits=16))
    malicious_server: bool = True
    min_cohort: int = 3
    adversarial_fraction: float = 0.1
    dropout_fraction: float = 0.1

    label = "masked"

    @property
    def phases(self) -> tuple[str, ...]:
        """The phases in which clients send; the consistency round exists only under a server that may lie."""
        return PHASES if self.malicious_server else tuple(phase for phase in PHASES if phase != CONFIRM)

    @property
    def needs_identities(self) -> bool:
        """Whether members must bring an identity and the key directory."""
        return self.malicious_server

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
        colluders: int | None = None,
        noised: bool = False,
        max_norm: float | None = None,
    ) -> SumPlan:
        """Plans one round.

        Args: weights: public, in the order of `clients` (default: all 1), unless summed_weights. colluders: the
            directory-wide number of corrupt clients where the cohort is not the whole directory.
        Raises: PlanError, CodecError.
        """
        if self.malicious_server and directory is None:
            raise PlanError("a server that may lie needs a key directory; generate identities, or set server = curious")
        graph = plan_graph(
            len(clients),
            adversarial_fraction=self.adversarial_fraction,
            dropout_fraction=self.dropout_fraction,
            malicious_server=self.malicious_server,
        )
        if colluders is not None:
            graph = plan_for_counts(
                len(clients), colluders=colluders, dropouts=graph.dropouts, malicious_server=self.malicious_server
            )
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
            graph=graph,
        )

    def client(
        self, plan: SumPlan, *, member: Member, contribution: Encoded, entropy: Entropy = os.urandom
    ) -> MaskedClient:
        """Opens a client's session after checking the plan from the client's side.

        Raises: RefusedError, PlanError, CodecError.
        """
        graph = check_plan(plan, member)
        if contribution.layout != plan.layout:
            raise CodecError("the contribution was encoded for another layout; encode it with this plan")
        check_coverage(plan, member.name, contribution)
        public = Public(
            plan=plan,
            plan_digest=plan.digest(),
            contribution_digest=digest("contribution", contribution.to_bytes()),
            graph=graph,
            position=plan.position(member.name),
            directory=member.directory if graph.malicious_server else None,
            signer=Signer(name=member.name, identity=member.identity if graph.malicious_server else None),
            entropy=entropy,
        )
        return MaskedClient(member.name, member.memory, Start(public=public, contribution=contribution))

    def server(self, plan: SumPlan, *, directory: KeyDirectory | None = None) -> MaskedServer:
        """Opens the server's session."""
        if plan.graph is None or (plan.graph.malicious_server and directory is None):
            raise PlanError("the server needs the graph plan, and the key directory to check signatures")
        return MaskedServer(plan, plan.digest(), directory)
