"""docs/background.md and the code name the same literature, and the page's paths lead somewhere."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "background.md").read_text(encoding="utf-8")
PACKAGES = ("dp", "secagg", "fedpeft_secure", "attacks", "evaluations")

NAMES = r"[A-Z][\w’'-]+"
CITATION = re.compile(
    rf"(?<![\w-])({NAMES})(?:(?:,| and| &|, and) {NAMES})*(?: et al\.)?,?(?: \([^)]*\))?(?:, CCS)? "
    r"\(?((?:19|20)\d\d)(?!\d)"
)
"""First author, others, year: "Hu et al. 2021", "Li, Micciancio 2021", "Bell, Bonawitz, …, CCS 2020"."""


def citations(source: str) -> set[str]:
    """ "Author year" of what the docstrings of a module cite."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            words = " ".join((ast.get_docstring(node) or "").split())
            found |= {f"{match[1]} {match[2]}" for match in CITATION.finditer(words)}
    return found


def listed() -> dict[str, str]:
    """First author and year → the row, of both lists of references."""
    rows = re.findall(r"^\| ([^|\[]+ \d{4}) \| (.*) \|$", PAGE.split("## References")[1], flags=re.MULTILINE)
    return {f"{key.split()[0]} {key.split()[-1]}": row for key, row in rows}


SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
IN_TABLES = {
    f"{name.split()[0]} {year}" for name, year in re.findall(r"\[([^\]|\d]+) (\d{4})\]", PAGE.split("## References")[0])
}
CITED = {key: path for path in SOURCES for key in citations(path.read_text(encoding="utf-8"))}


def test_citations_are_found() -> None:
    text = '"""One (Hu et al. 2021; Kalajdzievski 2023).\n\nSource: Li,\nMicciancio 2021; Reddi, Qi and Brown 2019."""'
    assert citations(text) == {"Hu 2021", "Kalajdzievski 2023", "Li 2021", "Reddi 2019"}
    assert len(CITED) > 70


@pytest.mark.parametrize("key", sorted(CITED))
def test_what_docstrings_cite_is_listed(key: str) -> None:
    assert key in listed(), f"{CITED[key].relative_to(ROOT)} cites {key}: add it to docs/background.md"


def test_what_the_tables_cite_is_listed() -> None:
    assert len(IN_TABLES) > 60
    assert set(listed()) >= IN_TABLES


def test_what_is_listed_is_cited() -> None:
    uncited = set(listed()) - IN_TABLES - set(CITED)
    assert uncited == {"Pang 2005", "Kingma 2015"}  # named beside a constant, and in the description of the data


def test_checked_references_have_an_identifier() -> None:
    checked = PAGE.split("### Checked")[1].split("### Not checked")[0]
    rows = [line for line in checked.splitlines() if re.match(r"\| .* \d{4} \|", line)]
    assert len(rows) > 75
    for row in rows:
        assert re.search(r"\[(arXiv \d{4}\.\d{4,5}|ePrint \d{4}/\d+|data)\]\(https?://\S+\) \|$", row), row


def test_every_path_is_there() -> None:
    paths = re.findall(r"`([\w/]+\.(?:py|json))`", PAGE)
    assert len(paths) > 50
    assert [path for path in paths if not (ROOT / path).is_file()] == []
    links = re.findall(r"\]\((?!https?:)([\w-]+\.md)\)", PAGE)
    assert [link for link in links if not (ROOT / "docs" / link).is_file()] == []
