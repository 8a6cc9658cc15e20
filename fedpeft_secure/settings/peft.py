"""`[peft]`: the small module that is trained."""

from typing import Annotated, Literal

from pydantic import Field

from fedpeft_secure.settings.types import Custom, Positive, Rank, Table, Unit


class PeftTable(Table):
    """`[peft]`: the small module that is trained."""

    method: (
        Literal[
            "lora",
            "rslora",
            "dora",
            "vera",
            "lora_xs",
            "adalora",
            "ia3",
            "adapter",
            "bitfit",
            "prefix",
            "prompt",
            "full",
            "head",
        ]
        | Custom
    ) = "lora"
    """What is trained beside the head; [methods.md](methods.md) compares them; "full" and "head" are baselines."""

    rank: Rank = 8
    """The rank of the factors; where clients differ (`allocation`), the largest."""

    alpha: Positive = 16.0
    """The scale of the factors' product: α / √rank for rsLoRA, α / rank else."""

    targets: tuple[str, ...] = ("query", "value")
    """The linear modules that get factors, by the names of BERT, which are translated for other architectures."""

    layers: Annotated[int, Field(ge=0, le=1024), Unit("layers")] = 0
    """How many of the layers nearest to the head are tuned; 0 for all."""

    virtual_tokens: Annotated[int, Field(ge=1, le=512), Unit("tokens")] = 8
    """The length of a prefix or prompt."""

    bottleneck: Annotated[int, Field(ge=1, le=4096), Unit("units")] = 16
    """The width of a bottleneck adapter."""

    placement: Literal["houlsby", "pfeiffer"] = "houlsby"
    """Bottleneck adapters behind attention and feed-forward sublayers, or behind the feed-forward ones alone."""

    target_rank: Rank | Literal["auto"] = "auto"
    """The rank that AdaLoRA's modules end at on average; "auto" is two thirds of `rank`."""

    @property
    def low_rank(self) -> bool:
        """Whether the adapter is made of factors B and A, which some strategies need."""
        return self.method in ("lora", "rslora", "dora")

    @property
    def description(self) -> str:
        """The method and what it depends on, in words."""
        details = [self.method]
        if self.low_rank or self.method in ("vera", "lora_xs", "adalora"):
            details += [f"rank {self.rank}", ", ".join(self.targets)]
        if self.method in ("prefix", "prompt"):
            details.append(f"{self.virtual_tokens} virtual tokens")
        if self.method == "adapter":
            details.append(f"{self.placement}, width {self.bottleneck}")
        if self.layers:
            details.append(f"top {self.layers} layers")
        return ", ".join(details)
