"""The page of one run; `show_text=False` leaves out what attacks recovered."""

from dataclasses import dataclass

from evaluations.report import charts, verdicts, wording
from evaluations.report.answers import answers
from evaluations.report.attack_charts import attack_charts
from evaluations.report.elements import Answer, Block, Chart, Notice, charts_of
from evaluations.report.reading import Run
from evaluations.report.rendering import render_page
from evaluations.report.roc_charts import roc_blocks
from evaluations.report.verdicts import VIEW_NAMES, Verdict
from fedpeft_secure.result import AttackRow


@dataclass(frozen=True, kw_only=True, slots=True)
class Word:
    """One word of a recovered text, and whether the true text has it."""

    text: str
    found: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class AttackLine:
    """One row of the attack table with what follows from it."""

    row: AttackRow
    view: str
    verdict: Verdict


@dataclass(frozen=True, kw_only=True, slots=True)
class Recovered:
    """A true sentence beside what an attack made of it."""

    attack: str
    view: str
    replay: bool
    truth: str
    words: tuple[Word, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """All that the templates read."""

    run: Run
    answers: tuple[Answer, ...]
    notices: tuple[Notice, ...]
    messages: tuple[str, ...]
    aggregate: tuple[str, ...]
    private: bool
    quality_charts: tuple[Chart, ...]
    privacy_chart: Chart | None
    phases_chart: Chart | None
    attack_charts: tuple[Chart, ...]
    roc: tuple[Block, ...]
    attacks: tuple[AttackLine, ...]
    recovered: tuple[Recovered, ...]
    hidden_texts: int

    @property
    def charts(self) -> tuple[Chart, ...]:
        """Every chart of the page."""
        single = tuple(chart for chart in (self.privacy_chart, self.phases_chart) if chart is not None)
        return (*self.quality_charts, *single, *self.attack_charts, *charts_of(self.roc))


def build_page(run: Run, *, show_text: bool) -> Page:
    """Decides everything that the page shows."""
    result = run.result
    rows = verdicts.ordered(result.attacks)
    quality = (charts.accuracy_chart(run), charts.loss_chart(run))
    return Page(
        run=run,
        answers=answers(result),
        notices=wording.notices(result),
        messages=wording.messages_statement(result),
        aggregate=wording.aggregate_statement(result.privacy),
        private=verdicts.is_private(result.privacy),
        quality_charts=tuple(chart for chart in quality if chart is not None),
        privacy_chart=charts.privacy_chart(run),
        phases_chart=charts.phases_chart(result.compute),
        attack_charts=attack_charts(result.attacks),
        roc=roc_blocks(result.attacks),
        attacks=tuple(AttackLine(row=row, view=VIEW_NAMES[row.view], verdict=verdicts.verdict(row)) for row in rows),
        recovered=_recovered(rows) if show_text else (),
        hidden_texts=0 if show_text else sum(len(row.texts) for row in rows),
    )


def render(page: Page) -> str:
    """The page as HTML, with styles, scripts and data inside."""
    return render_page(
        "run.html",
        charts=page.charts,
        values={
            "page": page,
            "run": page.run,
            "result": page.run.result,
            "accuracy_interval": wording.accuracy_interval(page.run.result.utility),
            "total_seconds": wording.total_seconds(page.run.result.compute),
            "is_over_budget": verdicts.is_over_budget,
            "largest_spender": verdicts.largest_spender(page.run.result.privacy),
            "overlapping_phase": wording.OVERLAPPING_PHASE,
        },
    )


def _recovered(rows: list[AttackRow]) -> tuple[Recovered, ...]:
    return tuple(
        Recovered(
            attack=row.attack,
            view=VIEW_NAMES[row.view],
            replay=row.replay,
            truth=pair.truth,
            words=_compared(pair.truth, pair.recovered),
        )
        for row in rows
        for pair in row.texts
    )


def _compared(truth: str, recovered: str) -> tuple[Word, ...]:
    present = set(truth.casefold().split())
    return tuple(
        Word(text=word, found=word.casefold() in present and any(map(str.isalnum, word))) for word in recovered.split()
    )
