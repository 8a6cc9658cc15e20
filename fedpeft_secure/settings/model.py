"""`[model]`: the pre-trained model."""

from typing import Annotated, Literal

from pydantic import Field

from fedpeft_secure.settings.types import Table, Unit


class ModelConfig(Table):
    """`[model]`: the pre-trained model, and how it names a class: by a head, or in words."""

    name: str = "minilm"
    """The packaged `minilm` or `smollm2`, a model of the hub, a folder (safetensors only), or a GGUF file."""

    task: Literal["auto", "classification", "seq2seq", "causal"] = "auto"
    """Whether a head names the class, or an encoder-decoder or a decoder does in words; "auto" goes by the model."""

    pooling: Literal["mean", "model"] = "mean"
    """The classification head: the mean of all tokens under a layer that starts at zero, or the model's own head."""

    label_words: dict[str, str] = Field(default_factory=dict)
    """Class name → the words that a model with task "seq2seq" or "causal" answers, where they are not the name."""

    cue: str = "\nLabel:"
    """What stands between a text and the answer of a decoder."""

    max_length: Annotated[int, Field(ge=4, le=8192), Unit("tokens")] = 64
    """Texts are cut to this length."""

    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where tensors live; "auto" takes an accelerator if there is one."""
