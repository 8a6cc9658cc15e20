"""The round plan: everything that is public before a round, and the request that carries it to a client."""

import math
import struct
from dataclasses import replace
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors.numpy import load, save

from fedpeft_secure.adapters import AdapterSpec, AdapterState
from fedpeft_secure.allocation.allotment import Allotment
from fedpeft_secure.config import Fraction, Rate, TrainingConfig
from fedpeft_secure.downloads import MAGIC, pack_delta, unpack_delta
from fedpeft_secure.errors import FedPeftError, PolicyError

Index = Annotated[int, Field(ge=0, lt=2**31)]
Count = Annotated[int, Field(ge=1, lt=2**31)]
Positive = Annotated[float, Field(gt=0)]
Text = Annotated[str, Field(min_length=1)]

OWN = ("sample_rate", "clip_norm", "nominal_batch", "groups", "rank", "layers", "targets", "local_steps")
"""The terms that a client may have for itself."""

MOST_NOMINAL = 4
"""The public assumption about sizes: no client has more examples than four times the nominal number."""

SINGLE_PRECISION = 1 + 1e-5
"""A gradient that is scaled to the clip norm in fp32 may be longer by this; fine codecs have no slack of their own."""

CONTROLLED = 3
"""A gradient with control variates, g + c − c_k, is as long as three at most: c and c_k are means of such gradients."""

ADAMW_STEP = 3.2
"""AdamW moves a coordinate by at most (1 − β₁)/√(1 − β₂) = 3.17 learning rates (Kingma & Ba 2015, section 2.1)."""


class Announced(BaseModel):
    """Base of everything in a plan: strict, because the server may lie."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class GroupRate(Announced):
    """The sampling rate of one group of a client's examples."""

    name: Text
    sample_rate: Rate


class OwnTerms(Announced):
    """What one client does otherwise than the plan says for all; as public as the plan.

    Args:
        client: its name.
        sample_rate, clip_norm, nominal_batch, groups: in place of the plan's.
        rank, layers, targets: the part of the module that it trains, as `Allotment` has it; all of it unless given.
        local_steps: in place of the plan's, unless None.
    """

    client: Text
    sample_rate: Rate
    clip_norm: Positive
    nominal_batch: Positive
    groups: tuple[GroupRate, ...] = ()
    rank: Index = 0
    layers: Index = 0
    targets: tuple[Text, ...] = ()
    local_steps: Count | None = None


class RoundPlan(Announced):
    """What the server announces: the same for every client of the cohort.

    Its bounds are checked by whoever reads one: a client divides by these numbers, and the server may lie.
    `noise_multiplier` is the largest of the run's clients; each client uses its own.
    Under client-level privacy `mechanism` says who adds the noise; `count_weight` is not zero where `clip_norm` adapts.
    With `scaled` blocks are sent in units of their own, which no norm bounds; of the `sums` of the round this is that
    numbered `phase`, from 0. What single clients do otherwise stands in `own_terms`; `for_client` is the plan as one
    client follows it. With `sum_groups` above 1 the cohort is split, as `fedpeft_secure.sum_groups` does it.
    """

    run: Text
    round: Index
    attempt: Index
    cohort: Annotated[tuple[Text, ...], Field(min_length=1)]
    model_hash: str
    strategy: str
    local_steps: Count
    sample_rate: Rate
    nominal_batch: Positive
    optimizer: Literal["sgd", "adamw"]
    learning_rate: Positive
    proximal: Annotated[float, Field(ge=0)] = 0.0
    control_variates: bool = False
    clip_norm: Positive
    noise_multiplier: Annotated[float, Field(ge=0)]
    protocol: str
    malicious_server: bool
    min_cohort: Count
    adversarial_fraction: Fraction
    dropout_fraction: Fraction
    codec_clip: Positive
    codec_bits: Annotated[int, Field(ge=2, le=32)]
    private: bool
    mechanism: Literal["per_example", "distributed_discrete_gaussian", "distributed_skellam", "central"] = "per_example"
    count_weight: Annotated[float, Field(ge=0)] = 0.0
    groups: tuple[GroupRate, ...] = ()
    rank: Index = 0
    layers: Index = 0
    targets: tuple[Text, ...] = ()
    scaled: bool = False
    weighing: Literal["examples", "uniform"] = "examples"
    sent_share: Annotated[float, Field(gt=0, le=1)] = 1.0
    sent_values: Literal["random", "last_sum"] = "random"
    sums: Annotated[int, Field(ge=1, le=2)] = 1
    phase: Annotated[int, Field(ge=0, le=1)] = 0
    sum_groups: Annotated[int, Field(ge=1, le=1024)] = 1
    robust: Literal["off", "median", "trimmed_mean"] = "off"
    trimmed_share: Annotated[float, Field(gt=0, lt=0.5)] = 0.25
    own_terms: tuple[OwnTerms, ...] = ()

    def for_client(self, client: str) -> "RoundPlan":
        """The plan as `client` follows it: its own terms where it has some, and nobody else's.

        Raises:
            PolicyError: If the plan gives the client two sets of terms.
        """
        own = [terms for terms in self.own_terms if terms.client == client]
        if len(own) > 1:
            raise PolicyError(f"{client} refuses round {self.round}: the plan gives it terms twice")
        changes = {name: getattr(own[0], name) for name in OWN} if own else {}
        changes = {name: value for name, value in changes.items() if value is not None}
        return self.model_copy(update={**changes, "own_terms": ()})

    def allotment(self, client: str) -> Allotment:
        """The part of the module that `client` trains.

        Raises:
            PolicyError: If the plan gives the client two sets of terms.
        """
        own = self.for_client(client)
        return Allotment(
            client=client, rank=own.rank, layers=own.layers, targets=own.targets, local_steps=own.local_steps
        )

    @property
    def allotments(self) -> tuple[Allotment, ...]:
        """Of everybody who does not train the whole module as the plan says for all, cohort or not."""
        allotted = tuple(self.allotment(terms.client) for terms in self.own_terms)
        return tuple(part for part in allotted if part != replace(self._whole, client=part.client))

    @property
    def _whole(self) -> Allotment:
        return Allotment(
            client="", rank=self.rank, layers=self.layers, targets=self.targets, local_steps=self.local_steps
        )

    @property
    def distributed(self) -> bool:
        """Whether the noise is in shares of the clients, so that the sum is one of integers modulo 2^bits."""
        return self.mechanism.startswith("distributed")

    def summed_values(self, dim: int) -> int:
        """Coordinates of the secure sum for updates of `dim` values: one more where the clip norm adapts."""
        return dim + (self.count_weight > 0)

    @property
    def summed_weights(self) -> bool:
        """Whether example counts travel inside the sum."""
        return not self.private and self.weighing == "examples"

    @property
    def sum_run(self) -> str:
        """The run as the secure sum knows it: second sums are a run of their own, so that each can be sent again."""
        return f"{self.run}, sum {self.phase + 1}" if self.phase else self.run

    @property
    def max_weight(self) -> int:
        """Under DP, and with uniform weights, all weigh the same; else numbers of examples are summed, up to this.

        MOST_NOMINAL times the nominal number of examples; at a sampling rate of 1 that number is the batch itself.
        """
        if not self.summed_weights:
            return 1
        if self.sample_rate == 1:
            return math.ceil(self.nominal_batch)
        return MOST_NOMINAL * math.ceil(self.nominal_batch / self.sample_rate)

    def max_norm(self, dim: int) -> float | None:
        """A public bound on the L2 norm of what an honest client sends, of `dim` values: the sum is checked with it.

        None for shares of noise, which wrap: no sum of them is impossible; and for blocks in units of their own.

        Per-example gradients of a sample of up to MOST_NOMINAL nominal batches, all alike, and noise five standard
        deviations longer than its expected length; for the client whose own terms allow the most.
        """
        if self.distributed or self.scaled:
            return None
        if self.mechanism == "central":
            return math.sqrt(1 + self.count_weight**2)
        steps = self.local_steps * self.learning_rate * (CONTROLLED if self.control_variates else 1)
        if self.optimizer == "adamw":
            return ADAMW_STEP * steps * math.sqrt(dim)
        followed = [self, *(self.for_client(terms.client) for terms in self.own_terms)]
        if not self.private:
            return SINGLE_PRECISION * steps * max(plan.clip_norm for plan in followed)
        return steps * max(plan.clip_norm * (plan._largest_sum + plan._longest_noise(dim)) for plan in followed)

    @property
    def _largest_sum(self) -> float:
        """Of clipped gradients, in clip norms: everybody may be in the group with the highest rate."""
        return MOST_NOMINAL * max((group.sample_rate / self.sample_rate for group in self.groups), default=1.0)

    def _longest_noise(self, dim: int) -> float:
        """In clip norms."""
        return self.noise_multiplier * (math.sqrt(dim) + 5) / self.nominal_batch


def pack_request(plan: RoundPlan, state: AdapterState, *, start: AdapterState | None = None) -> bytes:
    """The message from the server to each client: the plan as JSON, then the adapter.

    Args:
        plan: of the round.
        state: the adapter.
        start: that before the first round, if only the change since is to be sent; None for the whole.
    """
    header = plan.model_dump_json().encode()
    body = state.to_bytes() if start is None else pack_delta(state, start)
    return struct.pack(">I", len(header)) + header + body


def unpack_request(
    payload: bytes, spec: AdapterSpec, *, start: AdapterState | None = None
) -> tuple[RoundPlan, AdapterState]:
    """Reads `pack_request` strictly and checks that the adapter is the one that the plan names.

    Args:
        payload: a whole adapter, or the change since `start`.
        spec: the structure of the adapter.
        start: the adapter before the first round, as the reader derived it; without it changes are refused.

    Raises:
        PolicyError: If anything is malformed or the model is not the announced one.
    """
    length = struct.unpack(">I", payload[:4])[0] if len(payload) >= 4 else 0
    try:
        plan = RoundPlan.model_validate_json(payload[4 : 4 + length])
    except ValidationError as error:
        raise PolicyError("the server's request holds no valid round plan") from error
    try:
        state = _read_state(payload[4 + length :], spec, start)
    except FedPeftError as error:
        raise PolicyError(f"the server's request holds no valid adapter: {error}") from error
    if state.digest().hex() != plan.model_hash:
        raise PolicyError("the server sent a model other than the one that its plan names")
    return plan, state


def _read_state(data: bytes, spec: AdapterSpec, start: AdapterState | None) -> AdapterState:
    if not data.startswith(MAGIC):
        return AdapterState.from_bytes(data, spec)
    if start is None:
        raise FedPeftError("it is a change of an adapter that this party does not have")
    return unpack_delta(data, start, spec)


def pack_next(plan: RoundPlan, earlier: tuple[np.ndarray, ...]) -> bytes:
    """The request for the next sum of a round: the plan of that sum as JSON, then the means of the sums before it."""
    header = plan.model_dump_json().encode()
    return struct.pack(">I", len(header)) + header + pack_means(earlier)


def pack_means(earlier: tuple[np.ndarray, ...]) -> bytes:
    """Means of sums as safetensors."""
    return save({str(phase): np.ascontiguousarray(mean, dtype=np.float64) for phase, mean in enumerate(earlier)})


def unpack_next(payload: bytes) -> tuple[RoundPlan, tuple[np.ndarray, ...]]:
    """Reads `pack_next` strictly.

    Raises:
        PolicyError: If anything is malformed or not finite.
    """
    length = struct.unpack(">I", payload[:4])[0] if len(payload) >= 4 else 0
    try:
        plan = RoundPlan.model_validate_json(payload[4 : 4 + length])
        means = load(payload[4 + length :])
    except Exception as error:
        raise PolicyError("the server's request for another sum is malformed") from error
    ordered = tuple(means.get(str(phase), np.zeros(0)) for phase in range(plan.phase))
    sound = all(mean.ndim == 1 and mean.dtype == np.float64 and np.isfinite(mean).all() for mean in ordered)
    if len(means) != plan.phase or not sound:
        raise PolicyError("the server's request for another sum holds no valid means of those before it")
    return plan, ordered


def codec_clip(
    training: TrainingConfig, *, clip_norm: float, noise_multiplier: float, nominal_batch: float | None = None
) -> float:
    """A public bound on one coordinate of what a client sends: the codec's range under `secure_sum.clip = "auto"`.

    A step's clipped sum over `nominal_batch` has L2 norm about `clip_norm` at most, and a coordinate of its noise
    stays within six standard deviations.

    Args:
        training: the `[training]` table.
        clip_norm: of one example's gradient, or of the mean gradient without privacy.
        noise_multiplier: the largest of the cohort; 0 without privacy.
        nominal_batch: the divisor of a client with another sampling rate; the table's unless given.
    """
    steps = training.local_steps * training.learning_rate * (CONTROLLED if training.control_variates else 1)
    if training.optimizer == "adamw":
        return ADAMW_STEP * steps
    return steps * clip_norm * (1 + 6 * noise_multiplier / (nominal_batch or training.nominal_batch))
