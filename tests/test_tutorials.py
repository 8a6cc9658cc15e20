"""A newcomer who follows a tutorial types nothing that fails: every block runs, in order, in an empty directory."""

import os
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fedpeft_secure import cli

ROOT = Path(__file__).parents[1]
TUTORIALS = sorted((ROOT / "docs" / "tutorials").glob("*.md"))
EXECUTED = ("sh", "python")
COMMAND = f"#!/bin/sh\nexec {shlex.quote(sys.executable)} -c 'from fedpeft_secure.cli import main; main()' \"$@\"\n"


def blocks(page: Path) -> list[tuple[str, str]]:
    """(language, text) of every fenced block."""
    return re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def commands(text: str) -> list[list[str]] | None:
    """The words of every line if all of them are plain fedpeft commands, which then share this process; else None."""
    lines = [line for line in text.replace("\\\n", " ").splitlines() if line.strip()]
    if not all(line.startswith("fedpeft ") for line in lines):
        return None
    found = [shlex.split(line)[1:] for line in lines]
    return None if any({">", "<", "|", "||", "&&", ";"} & set(words) for words in found) else found


def run_in_shell(text: str, folder: Path) -> None:
    tool = folder.parent / "bin" / "fedpeft"
    tool.parent.mkdir(exist_ok=True)
    tool.write_text(COMMAND)
    tool.chmod(0o755)
    environment = os.environ | {
        "PATH": f"{tool.parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "HF_HUB_OFFLINE": "1",
    }
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", text],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"


@pytest.mark.slow
@pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: page.stem)
def test_every_block_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "newcomer"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for number, (language, text) in enumerate(blocks(page)):
        if language == "python":
            script = tmp_path / f"block{number}.py"
            script.write_text(text)
            runpy.run_path(str(script))
        elif (plain := commands(text) if language == "sh" else None) is None:
            run_in_shell(text, folder)
        else:
            for words in plain:
                done = CliRunner().invoke(cli.app, words)
                assert done.exit_code == 0, f"fedpeft {shlex.join(words)}\n{done.output}"


def test_there_is_a_tutorial_for_each_use() -> None:
    assert [page.stem for page in TUTORIALS] == ["attack_benchmark", "client_budgets", "privacy_utility"]


@pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: page.stem)
def test_no_block_is_left_out(page: Path) -> None:
    found = blocks(page)
    assert len(found) >= 3
    assert {language for language, _ in found} <= set(EXECUTED)


@pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: page.stem)
def test_every_link_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text(encoding="utf-8"))
    assert links
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_plain_commands_are_told_from_shell() -> None:
    assert commands("fedpeft run a.toml \\\n  --set 'x=[]'\nfedpeft doctor\n") == [
        ["run", "a.toml", "--set", "x=[]"],
        ["doctor"],
    ]
    assert commands("fedpeft attack --json > file\n") is None
    assert commands("ls\n") is None
