"""Writes pages and their pictures."""

import os
from collections.abc import Mapping
from pathlib import Path

from evaluations.report.figures import still_figures
from evaluations.report.page import build_page, render
from evaluations.report.reading import read_run
from fedpeft_secure.errors import RunDirectoryError


def write_report(run_dir: Path, *, show_text: bool = True) -> Path:
    """Writes `report.html` and `plots/` into a finished run directory, each file whole or not at all.

    The page needs no network and no other file. Writing it again replaces it.

    Args: run_dir: holds result.json, rounds.jsonl and config.toml. show_text: whether text that an attack recovered,
        and the truth beside it, stands in the page.
    Returns: the path of report.html.
    Raises: RunDirectoryError if the directory is not one of a finished run, or cannot be written.
    """
    run = read_run(run_dir)
    return write_page(run_dir, render(build_page(run, show_text=show_text)), still_figures(run))


def write_page(root: Path, page: str, figures: Mapping[str, bytes]) -> Path:
    """Writes a rendered page as `report.html` and its pictures into `plots/`, each file whole or not at all.

    Args:
        root: a directory that is there.
        page: HTML.
        figures: file name → content.

    Returns:
        The path of report.html.

    Raises:
        RunDirectoryError: If the directory cannot be written.
    """
    target = root / "report.html"
    try:
        (root / "plots").mkdir(exist_ok=True)
        for name, content in figures.items():
            _replace(root / "plots" / name, content)
        _replace(target, page.encode("utf-8"))
    except OSError as error:
        raise RunDirectoryError(f"the report cannot be written to {root}: {error.strerror}; make it writable") from None
    return target


def _replace(target: Path, content: bytes) -> None:
    """Writes a file beside its target and renames it, so that no reader meets half of it."""
    draft = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        with draft.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)
