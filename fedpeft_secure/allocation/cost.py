"""What a training step costs: memory, arithmetic, time and upload, counted from public facts alone.

The counts follow what autograd keeps for an encoder with frozen weights: nothing below the lowest tuned layer, and of
each tuned layer the inputs of what is not linear, of the attention, and of whatever trains. They hold for fp32 and for
the scaled dot-product attention of torch, which keeps no matrix of scores; other precisions need less.
"""

from dataclasses import dataclass

from fedpeft_secure.allocation.shapes import LOW_RANK, Choice, Linear, ModelShape

FP32_BYTES = 4

HEADS_VALUES = 2
"""Values a head and token that attention keeps or makes: a normaliser, and its gradient."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """Counts of one step on one physical batch, and of one upload; `Device` makes bytes and seconds of them.

    Args:
        weight_bytes: the model's values, resident all the time.
        kept_bytes: what autograd keeps between the passes.
        freed_bytes: what a forward pass through the tuned layers makes and drops again.
        passing_bytes: what one layer makes at most on its way, forth or back.
        state_bytes: one gradient for each example, sums, and the optimiser's moments.
        flops: multiplications and additions of the matrix products.
        moved_bytes: read and written by everything that is no matrix product, up to a constant.
        kernels: passes through a layer, each of which costs time by itself.
        trained: values that are trained.
    """

    weight_bytes: int
    kept_bytes: int
    freed_bytes: int
    passing_bytes: int
    state_bytes: int
    flops: float
    moved_bytes: float
    kernels: float
    trained: int

    def upload_bytes(self, *, bits: int) -> int:
        """Of the values that a client fills, without the secure sum's keys, signatures and padding.

        Args:
            bits: of a value, as `secure_sum.bits`.
        """
        return -(-self.trained * bits // 8)


def cost_of(shape: ModelShape, choice: Choice) -> Cost:
    """Counts what training `choice` on a model of `shape` takes."""
    trained = trained_values(shape, choice)
    tokens, tuned = choice.batch * choice.length, _tuned(shape, choice)
    rows = choice.batch * trained if choice.private else 0
    states = trained * (3 + 2 * choice.adamw)  # gradient, sum, noised sum
    values = FP32_BYTES * tokens
    return Cost(
        weight_bytes=FP32_BYTES * (shape.parameters + (0 if choice.method == "bitfit" else trained)),
        kept_bytes=values * tuned * _kept(shape, choice),
        freed_bytes=values * tuned * _freed(shape, choice),
        passing_bytes=values * (2 * shape.feed_forward + 3 * shape.width),
        state_bytes=FP32_BYTES * (rows + states),
        flops=tokens * _flops_per_token(shape, choice, tuned),
        moved_bytes=float(values * _moved(shape, choice) * (shape.layers + 2 * tuned)),
        kernels=shape.layers + tuned * (3.0 if choice.private else 2.0),
        trained=trained,
    )


def trained_values(shape: ModelShape, choice: Choice) -> int:
    """How many values `choice` trains, the head's included."""
    head, tuned = (shape.width + 1) * shape.classes, _tuned(shape, choice)
    if choice.method == "bitfit":
        return head + tuned * (sum(linear.outputs for linear in shape.linears) + 2 * shape.width)  # two layer norms
    return head + tuned * sum(module_values(linear, choice) for linear in _adapted(shape, choice))


def module_values(linear: Linear, choice: Choice) -> int:
    """Values of the factors that train beside one linear layer."""
    return choice.rank * (linear.outputs + linear.inputs * choice.trains_a)


def _adapted(shape: ModelShape, choice: Choice) -> tuple[Linear, ...]:
    return shape.adapted(choice.targets) if choice.method in LOW_RANK else ()


def _tuned(shape: ModelShape, choice: Choice) -> int:
    """Layers from the lowest tuned one up."""
    return 0 if choice.method == "head" else min(choice.layers, shape.layers)


def _keeps_inputs(choice: Choice) -> bool:
    """Per-example rules for biases are attached to whole linear layers, and hold their inputs."""
    return choice.method == "bitfit" and choice.private


def _kept(shape: ModelShape, choice: Choice) -> int:
    """Values a token and tuned layer: queries, keys, values, attention, inputs of two layer norms and of GELU."""
    kept = 6 * shape.width + shape.feed_forward + HEADS_VALUES * shape.heads
    if _keeps_inputs(choice):
        return kept + 2 * shape.width + shape.feed_forward
    adapted = _adapted(shape, choice)
    inputs = {_source(linear.name): linear.inputs for linear in adapted} if choice.trains_a else {}
    return kept + choice.rank * len(adapted) + sum(inputs.values())


def _freed(shape: ModelShape, choice: Choice) -> int:
    """Outputs of the frozen layers, of GELU and of the first layer norm, as far as nothing keeps them."""
    freed = 2 * shape.width + sum(2 * linear.outputs for linear in _adapted(shape, choice))
    return freed if _keeps_inputs(choice) else freed + shape.width + shape.feed_forward


def _source(name: str) -> str:
    """Queries, keys and values are made from the same hidden states."""
    last = name.rsplit(".", 1)[-1]
    return "hidden states" if last in ("query", "key", "value", "q_lin", "k_lin", "v_lin") else name


def _flops_per_token(shape: ModelShape, choice: Choice, tuned: int) -> float:
    """2 a weight forward, as much again for the gradient of an input; factors have gradients of their own."""
    linear = 2.0 * sum(each.inputs * each.outputs for each in shape.linears)
    attention = 4.0 * choice.length * shape.width
    factors = sum(2.0 * choice.rank * (each.inputs + each.outputs) for each in _adapted(shape, choice))
    forward = shape.layers * (linear + attention)
    return forward + tuned * (linear + 2 * attention + 3 * factors)


def _moved(shape: ModelShape, choice: Choice) -> int:
    """Values a token and layer of layer norms, activation, residuals and scores."""
    return 6 * shape.width + 2 * shape.feed_forward + 2 * shape.heads * choice.length
