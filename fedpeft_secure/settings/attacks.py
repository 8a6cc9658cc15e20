"""`[attacks]`: the red team."""

from typing import Literal

from fedpeft_secure.settings.types import Table

AttackName = Literal[
    "span", "membership", "update-cosine", "lira", "lira-offline", "rmia", "rmia-offline", "quantile", "fedmia"
]


class AttacksConfig(Table):
    """`[attacks]`: what the red team tries after the run."""

    run: tuple[AttackName, ...] = ("span", "membership")
    """The attacks that are played on the recorded messages; [attacks.md](attacks.md) explains them."""

    show_text: Literal["demo", "always", "never"] = "demo"
    """Whether reports show recovered text: of built-in data only, always, or never."""
