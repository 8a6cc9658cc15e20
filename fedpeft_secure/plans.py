"""The round plan: everything that is public before a round, and the request that carries it to a client."""

import math
import struct
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fedpeft_secure.adapters import AdapterSpec, AdapterState
from fedpeft_secure.config import Fraction, TrainingConfig
from fedpeft_secure.errors import FedPeftError, PolicyError

Index = Annotated[int, Field(ge=0, lt=2**31)]
Count = Annotated[int, Field(ge=1, lt=2**31)]
Positive = Annotated[float, Field(gt=0)]
Text = Annotated[str, Field(min_length=1)]

MOST_NOMINAL = 4
"""The public assumption about sizes: no client has more examples than four times the nominal number."""

ADAMW_STEP = 3.2
"""AdamW moves a coordinate by at most (1 − β₁)/√(1 − β₂) = 3.17 learning rates (Kingma & Ba 2015, section 2.1)."""


class RoundPlan(BaseModel):
    """What the server announces: the same for every client of the cohort.

    Its bounds are checked by whoever reads one: a client divides by these numbers, and the server may lie.
    `noise_multiplier` is the largest of the run's clients; each client uses its own.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    run: Text
    round: Index
    attempt: Index
    cohort: Annotated[tuple[Text, ...], Field(min_length=1)]
    model_hash: str
    strategy: str
    local_steps: Count
    sample_rate: Annotated[float, Field(gt=0, le=1)]
    nominal_batch: Count
    optimizer: Literal["sgd", "adamw"]
    learning_rate: Positive
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

    @property
    def max_weight(self) -> int:
        """Under DP weights are public and equal; without, example counts travel inside the sum, up to this.

        MOST_NOMINAL times the nominal number of examples; at a sampling rate of 1 that number is the batch itself.
        """
        if self.private:
            return 1
        if self.sample_rate == 1:
            return self.nominal_batch
        return MOST_NOMINAL * math.ceil(self.nominal_batch / self.sample_rate)

    def max_norm(self, dim: int) -> float:
        """A public bound on the L2 norm of what an honest client sends, of `dim` values: the sum is checked with it.

        Per-example gradients of a sample of up to MOST_NOMINAL nominal batches, all alike, and noise five standard
        deviations longer than its expected length.
        """
        steps = self.local_steps * self.learning_rate
        if self.optimizer == "adamw":
            return ADAMW_STEP * steps * math.sqrt(dim)
        if not self.private:
            return steps * self.clip_norm
        noise = self.noise_multiplier * (math.sqrt(dim) + 5) / self.nominal_batch
        return steps * self.clip_norm * (MOST_NOMINAL + noise)


def pack_request(plan: RoundPlan, state: AdapterState) -> bytes:
    """The message from the server to each client: the plan as JSON, then the adapter as safetensors."""
    header = plan.model_dump_json().encode()
    return struct.pack(">I", len(header)) + header + state.to_bytes()


def unpack_request(payload: bytes, spec: AdapterSpec) -> tuple[RoundPlan, AdapterState]:
    """Reads `pack_request` strictly and checks that the adapter is the one that the plan names.

    Raises:
        PolicyError: If anything is malformed or the model is not the announced one.
    """
    length = struct.unpack(">I", payload[:4])[0] if len(payload) >= 4 else 0
    try:
        plan = RoundPlan.model_validate_json(payload[4 : 4 + length])
    except ValidationError as error:
        raise PolicyError("the server's request holds no valid round plan") from error
    try:
        state = AdapterState.from_bytes(payload[4 + length :], spec)
    except FedPeftError as error:
        raise PolicyError(f"the server's request holds no valid adapter: {error}") from error
    if state.digest().hex() != plan.model_hash:
        raise PolicyError("the server sent a model other than the one that its plan names")
    return plan, state


def codec_clip(training: TrainingConfig, *, clip_norm: float, noise_multiplier: float) -> float:
    """A public bound on one coordinate of what a client sends: the codec's range under `secure_sum.clip = "auto"`.

    A step's clipped sum over `nominal_batch` has L2 norm about `clip_norm` at most, and a coordinate of its noise
    stays within six standard deviations.

    Args:
        training: the `[training]` table.
        clip_norm: of one example's gradient, or of the mean gradient without privacy.
        noise_multiplier: the largest of the cohort; 0 without privacy.
    """
    steps = training.local_steps * training.learning_rate
    if training.optimizer == "adamw":
        return ADAMW_STEP * steps
    return steps * clip_norm * (1 + 6 * noise_multiplier / training.nominal_batch)
