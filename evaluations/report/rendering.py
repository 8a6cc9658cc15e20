"""Renders pages: everything from a result is text to the templates, which escape it, and never markup.

Guarantee: no name, label or recovered text of a result can run a script or load anything. Templates escape all of it,
data for the charts is JSON with "<" written as an escape, and the page's own content security policy allows the page's
two scripts by their hash and no connection at all.
Assumes: a browser that enforces content security policies, for the second line of defence only; chart texts that went
through `charts.plain`, because plotly understands a few tags.
Does not cover: what a recovered text says.
"""

import base64
import hashlib
from collections.abc import Iterable, Mapping
from importlib import resources

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from evaluations.report import formatting
from evaluations.report.elements import FEWEST_TO_FILTER, Chart, Document


def render_document(document: Document) -> str:
    """A page as HTML, with styles, scripts and data inside."""
    return render_page("document.html", charts=document.charts, values={"page": document})


def render_page(template: str, *, charts: Iterable[Chart], values: Mapping[str, object]) -> str:
    """Renders a template that extends `skeleton.html`.

    Args:
        template: its file name.
        charts: every chart whose element the template places.
        values: what the template reads.

    Raises:
        ValueError: If two charts share a name: only one of them would be drawn.
    """
    drawn: dict[str, object] = {}
    for chart in charts:
        if chart.name in drawn:
            raise ValueError(f"two charts are called {chart.name!r}; only one of them would be drawn")
        drawn[chart.name] = chart.figure
    scripts = (_own(get_plotlyjs()), _own(_asset("report.js")))
    return (
        _environment()
        .get_template(template)
        .render(
            {
                **values,
                "figures": drawn,
                "style": _own(_asset("report.css")),
                "scripts": scripts,
                "policy": _policy(scripts),
            }
        )
    )


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("evaluations.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False}
    environment.globals["fewest_to_filter"] = FEWEST_TO_FILTER
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
    return environment


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
    """Marks our own or plotly's source as markup; nothing of a result may come here.

    Raises: ValueError if the source would end its element early.
    """
    if any(end in source.lower() for end in ("</script", "</style", "<!--")):
        raise ValueError("a script or style would end its own element; this version of plotly cannot be inlined")
    return Markup(source)  # noqa: S704
