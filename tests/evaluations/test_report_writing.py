import stat
from pathlib import Path

import pytest

import evaluations
from evaluations.report import write_report, writing
from fedpeft_secure.errors import RunDirectoryError


def names(directory):
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file())


def test_writes_the_page_and_the_figures_and_nothing_else(make_run):
    directory = make_run()
    before = names(directory)
    path = write_report(directory)
    assert path == directory / "report.html"
    plots = [f"plots/{name}.{kind}" for name in ("accuracy", "attacks", "privacy") for kind in ("png", "svg")]
    assert names(directory) == sorted([*before, "report.html", *plots])
    assert path.read_text(encoding="utf-8").startswith("<!doctype html>")


def test_writing_again_gives_the_same_bytes(make_run):
    directory = make_run()
    first = write_report(directory).read_bytes()
    assert write_report(directory).read_bytes() == first


def test_text_is_left_out_on_request(make_run):
    assert "1830s" not in write_report(make_run(), show_text=False).read_text(encoding="utf-8")


def test_a_failure_keeps_the_old_report_and_no_draft(make_run, monkeypatch):
    directory = make_run()
    write_report(directory).write_text("old")

    def fail(self, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(RunDirectoryError, match="No space left"):
        write_report(directory)
    monkeypatch.undo()
    assert (directory / "report.html").read_text() == "old"
    assert not [name for name in names(directory) if name.endswith(".tmp")]


def test_the_page_is_renamed_into_place(make_run, monkeypatch):
    moved = []
    original = Path.replace

    def record(self, target):
        moved.append((self.parent == Path(target).parent, Path(target).name, self.stat().st_size > 0))
        return original(self, target)

    monkeypatch.setattr(Path, "replace", record)
    write_report(make_run())
    assert moved[-1] == (True, "report.html", True)
    assert all(beside and whole for beside, _, whole in moved)
    assert len(moved) == 7


def test_an_unfinished_run_writes_nothing(make_run):
    directory = make_run()
    (directory / "result.json").unlink()
    before = names(directory)
    with pytest.raises(RunDirectoryError):
        write_report(directory)
    assert names(directory) == before


def test_the_report_is_readable_like_any_file_of_its_owner(make_run):
    assert stat.S_IMODE(write_report(make_run()).stat().st_mode) & stat.S_IRUSR


def test_public_names():
    assert evaluations.__all__ == sorted(evaluations.__all__)
    assert all(hasattr(evaluations, name) for name in evaluations.__all__)
    assert writing.write_report is evaluations.write_report
