"""`[training]`: local steps and the server's."""

from typing import Annotated, Literal

from pydantic import Field

from fedpeft_secure.settings.types import Positive, Rate, Table, Unit


class TrainingConfig(Table):
    """`[training]`: what a client does in a round and what the server does with the mean."""

    rounds: Annotated[int, Field(ge=1, le=100_000), Unit("rounds")] = 24
    """How many rounds there are."""

    local_steps: Annotated[int, Field(ge=1, le=10_000), Unit("steps")] = 1
    """How many steps a client takes in a round."""

    sample_rate: Rate = 0.15
    """The probability with which each example is in a step's batch; public, and one for all unless `per_client`."""

    nominal_batch: Annotated[int, Field(ge=1), Unit("examples")] = 128
    """What a step's clipped sum is divided by; public, since a client's example count is private."""

    physical_batch: Annotated[int, Field(ge=1), Unit("examples")] = 32
    """How many examples are in memory at once; it changes memory and speed alone."""

    optimizer: Literal["sgd", "adamw"] = "sgd"
    """The client's optimiser."""

    learning_rate: Positive = 1.0
    """The client's learning rate."""

    proximal: Annotated[float, Field(ge=0)] = 0.0
    """FedProx: the strength μ that pulls a client back to the round's start; 0 for none."""

    control_variates: bool = False
    """SCAFFOLD: whether local steps are corrected for the drift of unequal data."""

    server_optimizer: Literal["adamw", "sgd", "momentum", "adam", "yogi", "adagrad"] = "adamw"
    """What the server does with the mean update; "sgd" at a rate of 1 is plain FedAvg."""

    server_momentum: Annotated[float, Field(gt=0, lt=1)] = 0.9
    """The momentum of `server_optimizer = "momentum"`."""

    server_learning_rate: Positive = 5e-3
    """The server's learning rate."""

    server_head_factor: Positive | Literal["auto"] = "auto"
    """How many times as fast adaptive server optimisers move the head; "auto" depends on whether there is noise."""

    server_schedule: Literal["auto", "linear", "constant"] = "auto"
    """Whether the server's rate falls to zero over the rounds; "auto" lets it fall where updates carry noise."""

    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """The arithmetic of the frozen model; norms, clipping and noise are fp32 always."""

    evaluate_every: Annotated[int, Field(ge=1), Unit("rounds")] = 2
    """How often the model is measured on the validation data; after the last round it is in any case."""

    activation_cache_mib: Annotated[int, Field(ge=0), Unit("MiB")] = 512
    """Memory for the activations below the lowest tuned layer, which never change; 0 keeps none."""
