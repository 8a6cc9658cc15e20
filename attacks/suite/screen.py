"""Attack results on the screen and as JSON."""

import json

from rich.table import Table

from attacks.suite.own_texts import TextAttack
from fedpeft_secure.result import AttackRow

KEYS = (
    "recovered", "rouge1", "rouge2", "rouge_l", "token_recall", "false_positives", "token_budget", "tokens_present",
    "seconds", "view", "attribution", "note",
)  # fmt: skip
"""What `attack --text --json` prints."""


def text_json(found: TextAttack) -> str:
    """One JSON object."""
    return json.dumps({key: getattr(found, key) for key in KEYS}, indent=2, ensure_ascii=False)


def text_table(found: TextAttack) -> Table:
    """A line for each text, and the figures below."""
    table = Table(title=f"Gradient inversion, view {found.view}", caption=_caption(found), caption_justify="left")
    table.add_column("Your text")
    table.add_column("Recovered")
    for text, match in zip(found.texts, found.matched, strict=True):
        table.add_row(text, match or "nothing")
    others = [sentence for sentence in found.recovered if sentence not in found.matched]
    for sentence in others:
        table.add_row("(another client's, or wrong)", sentence)
    return table


def _caption(found: TextAttack) -> str:
    within = "within" if found.tokens_present <= found.token_budget else "over"
    figures = (
        f"ROUGE-1/2/L {found.rouge1:.2f}/{found.rouge2:.2f}/{found.rouge_l:.2f}; token recall "
        f"{found.token_recall:.2f}, {found.false_positives} false; {found.tokens_present} {found.counted}, "
        f"{within} the token budget of {found.token_budget}; {found.seconds:.1f} s"
    )
    return "; ".join(part for part in (figures, found.attribution, found.note) if part)


def rows_table(rows: tuple[AttackRow, ...]) -> Table:
    """A line for each attack and view."""
    table = Table(title="Attacks")
    for heading in ("Attack", "View", "Source", "Metric", "Value", "Interval", "Null", "Tokens / budget"):
        table.add_column(heading, no_wrap=heading in ("Attack", "View"))
    for row in rows:
        table.add_row(
            row.attack,
            row.view,
            "replay" if row.replay else "this run",
            row.metric,
            _number(row.value),
            f"{_number(row.low)} to {_number(row.high)}",
            _number(row.null),
            "–" if row.token_budget is None else f"{row.tokens_present or '–'} / {row.token_budget}",
        )
    return table


def rows_json(rows: tuple[AttackRow, ...]) -> str:
    """A JSON array."""
    return json.dumps([row.model_dump(mode="json") for row in rows], indent=2, ensure_ascii=False)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
