"""`[attacks]`: the red team."""

from typing import Annotated, Literal

from pydantic import Field

from fedpeft_secure.settings.types import Table, Unit

AttackName = Literal[
    "span", "dlg", "tag", "lamp",
    "membership", "update-cosine", "lira", "lira-offline", "rmia", "rmia-offline", "quantile", "min-k", "fedmia",
    "exposure",
]  # fmt: skip


class AttacksConfig(Table):
    """`[attacks]`: what the red team tries after the run."""

    run: tuple[AttackName, ...] = ("span", "membership")
    """The attacks that are played on the recorded messages; [attacks.md](attacks.md) explains them."""

    matching_steps: Annotated[int, Field(ge=1), Unit("steps")] = 40
    """Steps of `dlg`, `tag` and `lamp` for each attacked round; their papers take hundreds to thousands."""

    show_text: Literal["demo", "always", "never"] = "demo"
    """Whether reports show recovered text: of built-in data only, always, or never."""
