"""A recommendation as JSON and on the terminal."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field
from rich.table import Table
from rich.text import Text

from evaluations.leaks import Leak
from evaluations.recommend.choose import Judged, Recommendation
from evaluations.spread import Spread
from fedpeft_secure.config import Config
from fedpeft_secure.errors import RunFailedError
from fedpeft_secure.result import Number

Standing = Literal["broken", "unknown", "unsure", "kept"]


class Record(BaseModel):
    """Base of everything here: no unknown fields, unchangeable."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class WishAnswer(Record):
    """One wish: `standing` is "unsure" where the interval crosses the limit, "unknown" where nothing was measured."""

    wish: str
    client: str
    standing: Standing
    figures: str


class CandidateAnswer(Record):
    """One configuration that was looked at; `epsilon` holds for one `unit` at `delta`, the largest of any client."""

    title: str
    runs: tuple[str, ...]
    accuracy: Spread
    leaks: tuple[Leak, ...]
    epsilon: Number
    delta: float
    unit: Literal["example", "client"]
    upload_bytes: float
    standing: Standing
    wishes: tuple[WishAnswer, ...]


class RecommendationAnswer(Record):
    """All of `recommendation.json` (schema 1).

    Args:
        status: "sure", "unsure" (an interval crosses a limit, which is kept by the mean alone) or "none".
        binding: the wishes that keep everything out, where nothing is recommended.
        statement: the same in words.
        candidates: the best first; where something is recommended, it is the first.
        budgets: every client's ε in the recommended configuration.
    """

    schema_: Literal[1] = Field(default=1, alias="schema")
    status: Literal["sure", "unsure", "none"]
    statement: str
    binding: tuple[str, ...]
    candidates: tuple[CandidateAnswer, ...]
    budgets: dict[str, Number]

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    def to_json(self) -> str:
        """The text of `recommendation.json`."""
        return self.model_dump_json(by_alias=True, indent=2)


def answer(found: Recommendation, config: Config | None, *, room: bool) -> RecommendationAnswer:
    """What is said of a recommendation.

    Args:
        found: the choice.
        config: what is recommended; None where nothing is.
        room: whether its ledger has room for it.
    """
    return RecommendationAnswer(
        status="none" if found.chosen is None else "sure" if found.sure and room else "unsure",
        statement=_nothing(found) if config is None else _statement(found, config.privacy.ledger, room=room),
        binding=found.binding,
        candidates=tuple(map(_candidate, found.judged)),
        budgets={} if config is None else {name: config.epsilon_of(name) for name in config.client_names},
    )


def _nothing(found: Recommendation) -> str:
    nearest = found.judged[0]
    return (
        f"Nothing that was trained keeps all that is asked for. What binds: {', '.join(found.binding)}. "
        f"Nearest: {nearest.candidate.title} ({_still_open(nearest)})."
    )


def _statement(found: Recommendation, ledger: str, *, room: bool) -> str:
    """The outcome in plain words, where there is one."""
    chosen = found.judged[0]
    title = chosen.candidate.title
    if not room:
        return (
            f"NOT SURE: {title} is the best that was found, but {ledger}, on which it goes on, has no room for it: "
            "what was charged there counts. Raise the budgets by as much, or let the evidence come from a simulation."
        )
    said = f"{title}: every wish is kept, by the whole interval where there is one."
    if not found.sure:
        said = (
            f"NOT SURE: {title} keeps every wish by its mean, but not by its interval: {_still_open(chosen)}. Add "
            "seeds before relying on it."
        )
    elif len(found.judged) > 1:
        said += (
            f" It was chosen among {len(found.judged)} by these very figures, which favours the lucky: train it at "
            "fresh seeds before relying on it."
        )
    return said if ledger == "run" else f"{said} It goes on with {ledger}: what was charged there counts."


def _still_open(judged: Judged) -> str:
    return "; ".join(_figures(one.wish, one.client, one.words) for one in judged.open_verdicts[:3])


def screen(found: RecommendationAnswer) -> Table:
    """A line for each candidate, the recommended one first."""
    table = Table("candidate", "accuracy", "ε", "upload", "wishes", "what is open")
    table.caption, table.caption_justify = Text(found.statement), "left"
    for each in found.candidates:
        ends = "" if each.accuracy.low is None else f" [{each.accuracy.low:.3f}, {each.accuracy.high:.3f}]"
        missed = [one for one in each.wishes if one.standing != "kept"]
        table.add_row(
            each.title,
            f"{each.accuracy.mean:.3f}{ends}",
            f"{each.epsilon:.2f}",
            f"{each.upload_bytes / 1000:.0f} kB",
            each.standing,
            "; ".join(_figures(one.wish, one.client, one.figures) for one in missed[:2]),
        )
    return table


def require_found(found: RecommendationAnswer) -> None:
    """Fails where nothing keeps what is asked for.

    Raises:
        RunFailedError: Says what binds.
    """
    if found.status == "none":
        raise RunFailedError(f"{found.statement} Relax a wish, or look further with --over KEY=V1,V2,...")


def _candidate(judged: Judged) -> CandidateAnswer:
    candidate = judged.candidate
    return CandidateAnswer(
        title=candidate.title,
        runs=tuple(map(str, candidate.runs)),
        accuracy=candidate.accuracy,
        leaks=candidate.leaks,
        epsilon=candidate.epsilon,
        delta=max((row.delta for row in candidate.result.privacy.clients), default=0.0),
        unit=candidate.result.privacy.unit,
        upload_bytes=candidate.upload_bytes,
        standing=_standing(judged.kept.name),
        wishes=tuple(
            WishAnswer(wish=one.wish, client=one.client, standing=_standing(one.kept.name), figures=one.words)
            for one in judged.verdicts
        ),
    )


def _standing(name: str) -> Standing:
    names: dict[str, Standing] = {"BROKEN": "broken", "UNKNOWN": "unknown", "UNSURE": "unsure", "KEPT": "kept"}
    return names[name]


def _figures(wish: str, client: str, words: str) -> str:
    return f"{wish}{f' of {client}' if client else ''}: {words}"
