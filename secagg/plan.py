"""Everything public before a round of a secure sum."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from secagg.codec import Codec, Encoded, FixedPoint, Layout
from secagg.crypto import digest
from secagg.errors import PlanError
from secagg.graph import GraphPlan
from secagg.identity import KeyDirectory
from secagg.manifest import Manifest
from secagg.messages import KEY_HOLDER, SERVER
from secagg.wire import Writer


@dataclass(frozen=True, kw_only=True, slots=True)
class SumPlan:
    """The public parameters of one round; its digest is in every session id and under every signature.

    Args:
        protocol: label of the protocol. run, round, attempt: a retry is a new attempt, and a new release.
        clients: the cohort, sorted. dim: coordinates of a vector. codec: with an integer max_weight.
        weights: public weights in the order of `clients`, or None: they travel inside the sum.
        min_cohort: fewest survivors, and fewest survivors that fill any coordinate (see `fewest_fillers`). manifest:
            what everybody was sent.
        graph: None for protocols without one. directory: fingerprint of the key directory, empty without identities.
        noised: whether all that clients open of a contribution is differentially private, on its own or in every sum
            that holds it (distributed noise); else rules against differencing bite.
        max_norm: largest L2 norm of a contribution of full weight (clip norm plus noise), or None.
    """

    protocol: str
    run: str = ""
    round: int = 0
    attempt: int = 0
    clients: tuple[str, ...]
    dim: int
    codec: Codec
    weights: tuple[int, ...] | None = None
    min_cohort: int = 1
    manifest: Manifest = field(default_factory=Manifest)
    graph: GraphPlan | None = None
    directory: bytes = b""
    noised: bool = False
    max_norm: float | None = None

    def __post_init__(self) -> None:
        if (
            list(self.clients) != sorted(set(self.clients))
            or not self.clients
            or {SERVER, KEY_HOLDER} & set(self.clients)
        ):
            raise PlanError('clients must be unique, sorted and not called "server" or "key-holder"')
        if "\0" in "".join(self.clients):
            raise PlanError("clients must have names without NUL")
        if self.dim < 1 or min(self.round, self.attempt) < 0:
            raise PlanError(f"dim = {self.dim} must be at least 1, round and attempt not negative")
        if not 1 <= self.min_cohort <= len(self.clients):
            raise PlanError(
                f"min_cohort = {self.min_cohort} must be 1…{len(self.clients)}; lower it or enlarge the cohort"
            )
        if self.codec.max_weight is None:
            raise PlanError("codec.max_weight must be set in a plan")
        if self.weights is not None and (
            len(self.weights) != len(self.clients) or not all(1 <= w <= self.codec.weight_bound for w in self.weights)
        ):
            raise PlanError(
                f"weights must be one integer 1…{self.codec.weight_bound} for each client; raise max_weight"
            )
        if self.graph is not None and self.graph.num_clients != len(self.clients):
            raise PlanError(
                f"graph is planned for {self.graph.num_clients} clients, the cohort has {len(self.clients)}"
            )
        if self.max_norm is not None and not self.max_norm > 0:
            raise PlanError(f"max_norm = {self.max_norm} must be positive")
        _check_coverage(self.manifest, self.clients, self.dim)

    @property
    def layout(self) -> Layout:
        """Segments and moduli of a contribution."""
        return self.codec.layout(dim=self.dim, clients=len(self.clients), summed_weights=self.weights is None)

    @property
    def fewest_survivors(self) -> int:
        """Fewest clients, honest or not, in any sum that a client helps to open; see `guaranteed_honest`."""
        graph = self.graph
        if graph is None:
            return self.min_cohort
        if graph.malicious_server and not graph.complete:
            return graph.threshold + 1
        return max(self.min_cohort, graph.threshold + 1)

    @property
    def fewest_fillers(self) -> int:
        """Fewest clients, honest or not, that fill any coordinate that is filled at all.

        A graph hides whole vectors among honest ones. Where clients fill different coordinates, colluders subtract
        what they put into one: two honest clients must remain in each.
        """
        if self.graph is None or not self.manifest.entries:
            return self.min_cohort
        return max(self.min_cohort, self.graph.colluders + 2)

    @property
    def guaranteed_honest(self) -> int:
        """Fewest honest survivors in any sum that a client helps to open, at the assumed number of corrupt ones.

        A client accepts only survivor sets of min_cohort clients or more that hold it and a threshold of neighbours.
        A server that lies may choose who vanishes so that a sparse graph falls apart, and open a sum for each part:
        there only neighbours count, of whom fewer than 2·threshold − degree are corrupt. Noise shares must be
        calibrated to this number, not to the cohort.
        """
        graph = self.graph
        if graph is None:
            return self.fewest_survivors
        corrupt = graph.colluders
        if graph.malicious_server and not graph.complete:
            corrupt = min(corrupt, 2 * graph.threshold - graph.degree - 1)
        return max(1, self.fewest_survivors - corrupt)

    def position(self, name: str) -> int:
        """The place of a client in the cohort; raises PlanError for a stranger."""
        if name not in self.clients:
            raise PlanError(f"{name!r} is not in this round's cohort")
        return self.clients.index(name)

    def public_weight(self, name: str) -> int | None:
        """A client's public weight, or None where weights travel inside the sum."""
        return None if self.weights is None else self.weights[self.position(name)]

    def encode(
        self,
        name: str,
        vector: NDArray[np.floating] | NDArray[np.integer],
        *,
        weight: int | None = None,
        rng: np.random.Generator,
    ) -> Encoded:
        """Encodes a client's vector for this round; see the codec's `encode`.

        Args: weight: the client's own weight; leave it out where weights are public.
        Raises: CodecError, PlanError.
        """
        public = self.public_weight(name)
        if weight is None:
            weight = 1 if public is None else public
        elif public is not None and weight != public:
            raise PlanError(f"weight {weight} of {name!r} contradicts its public weight {public}")
        return self.codec.encode(vector, layout=self.layout, weight=weight, rng=rng)

    def next_attempt(self) -> "SumPlan":
        """The plan of another attempt: everybody must make a new release for it."""
        return replace(self, attempt=self.attempt + 1)

    def digest(self) -> bytes:
        """SHA-256 over every field."""
        codec, graph = self.codec, self.graph
        writer = Writer(b"").text(self.protocol).text(self.run)
        writer.uint(self.round, num_bytes=8).uint(self.attempt, num_bytes=8).uint(len(self.clients), num_bytes=4)
        writer.blob("\0".join(self.clients).encode())
        writer.uint(self.dim, num_bytes=8).raw(codec.parameters())
        writer.blob(struct.pack(f">{len(self.weights or ())}I", *(self.weights or ())))
        writer.uint(self.weights is not None, num_bytes=1).uint(self.min_cohort, num_bytes=4).raw(self.manifest.digest)
        writer.uint(graph is not None, num_bytes=1)
        if graph is not None:
            for number in (graph.degree, graph.threshold, graph.colluders, graph.dropouts, graph.malicious_server):
                writer.uint(int(number), num_bytes=4)
        writer.blob(self.directory).uint(self.noised, num_bytes=1)
        writer.raw(struct.pack(">d", -1.0 if self.max_norm is None else self.max_norm))
        return digest("plan", writer.done())


def _check_coverage(manifest: Manifest, clients: tuple[str, ...], dim: int) -> None:
    for client, entry in manifest.entries.items():
        if client not in clients:
            raise PlanError(f"manifest: {client!r} is not in the cohort")
        if entry.covered and entry.covered[-1][1] > dim:
            raise PlanError(f"manifest: {client!r} fills coordinates beyond dim = {dim}")


def plan_sum(
    *,
    protocol: str,
    codec: Codec,
    min_cohort: int,
    clients: Sequence[str],
    dim: int,
    run: str,
    round: int,
    attempt: int,
    weights: Sequence[int] | None,
    summed_weights: bool,
    manifest: Manifest | None,
    directory: KeyDirectory | None,
    noised: bool,
    max_norm: float | None,
    graph: GraphPlan | None = None,
) -> SumPlan:
    """Builds the plan of any protocol: sorts the cohort with its weights, and fills in the codec's `max_weight`.

    Raises: PlanError.
    """
    if len(clients) != len(weights or clients):
        raise PlanError(f"{len(weights or ())} weights for {len(clients)} clients; give one each, in their order")
    pairs = sorted(zip(clients, weights or [1] * len(clients), strict=True))
    public = None if summed_weights else tuple(weight for _, weight in pairs)
    if isinstance(codec, FixedPoint) and codec.max_weight is None:
        codec = replace(codec, max_weight=max((1, *(public or ()))))
    return SumPlan(
        protocol=protocol,
        run=run,
        round=round,
        attempt=attempt,
        clients=tuple(name for name, _ in pairs),
        dim=dim,
        codec=codec,
        weights=public,
        min_cohort=min_cohort,
        manifest=manifest or Manifest(),
        graph=graph,
        directory=b"" if directory is None else directory.fingerprint,
        noised=noised,
        max_norm=max_norm,
    )
