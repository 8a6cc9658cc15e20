"""Builds the page: everything from a run is text to the templates, which escape it, and never markup.

Guarantee: no name, label or recovered text of a run can run a script or load anything. Templates escape all of it, data
for the charts is JSON with "<" written as an escape, and the page's own content security policy allows the page's two
scripts by their hash and no connection at all.
Assumes: a browser that enforces content security policies, for the second line of defence only.
Does not cover: what the recovered text says; `show_text=False` leaves it out.
"""

import base64
import hashlib
from dataclasses import dataclass
from importlib import resources

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from evaluations.report import charts, formatting, verdicts, wording
from evaluations.report.answers import Answer, answers
from evaluations.report.attack_charts import attack_charts
from evaluations.report.charts import Chart
from evaluations.report.reading import Run
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
    notices: tuple[wording.Notice, ...]
    messages: tuple[str, ...]
    aggregate: tuple[str, ...]
    private: bool
    quality_charts: tuple[Chart, ...]
    privacy_chart: Chart | None
    phases_chart: Chart | None
    attack_charts: tuple[Chart, ...]
    attacks: tuple[AttackLine, ...]
    recovered: tuple[Recovered, ...]
    hidden_texts: int

    @property
    def charts(self) -> tuple[Chart, ...]:
        """Every chart of the page."""
        single = tuple(chart for chart in (self.privacy_chart, self.phases_chart) if chart is not None)
        return (*self.quality_charts, *single, *self.attack_charts)


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
        attacks=tuple(AttackLine(row=row, view=VIEW_NAMES[row.view], verdict=verdicts.verdict(row)) for row in rows),
        recovered=_recovered(rows) if show_text else (),
        hidden_texts=0 if show_text else sum(len(row.texts) for row in rows),
    )


def render(page: Page) -> str:
    """The page as HTML, with styles, scripts and data inside."""
    environment = Environment(
        loader=PackageLoader("evaluations.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False}
    environment.filters |= {
        "number": formatting.number,
        "significant": formatting.significant,
        "shortest": formatting.shortest,
        "interval": formatting.interval,
        "power": formatting.power_of_ten,
        "size": formatting.data_size,
        "duration": formatting.duration,
        "relation": formatting.relation_name,
    }
    scripts = (_own(get_plotlyjs()), _own(_asset("report.js")))
    return environment.get_template("page.html").render(
        page=page,
        run=page.run,
        result=page.run.result,
        style=_own(_asset("report.css")),
        scripts=scripts,
        policy=_policy(scripts),
        accuracy_interval=wording.accuracy_interval(page.run.result.utility),
        total_seconds=wording.total_seconds(page.run.result.compute),
        is_over_budget=verdicts.is_over_budget,
        largest_spender=verdicts.largest_spender(page.run.result.privacy),
        overlapping_phase=wording.OVERLAPPING_PHASE,
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


def _policy(scripts: tuple[Markup, ...]) -> str:
    digests = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _asset(name: str) -> str:
    return resources.files("evaluations.report").joinpath("templates", name).read_text(encoding="utf-8")


def _own(source: str) -> Markup:
    """Marks our own or plotly's source as markup; nothing of a run may come here.

    Raises: ValueError if the source would end its element early.
    """
    if any(end in source.lower() for end in ("</script", "</style", "<!--")):
        raise ValueError("a script or style would end its own element; this version of plotly cannot be inlined")
    return Markup(source)  # noqa: S704
