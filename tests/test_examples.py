"""What the documentation shows must work: example configurations, and the blocks of the README."""

import re
import tomllib
from pathlib import Path

import pytest

import fedpeft_secure
from fedpeft_secure import cli
from fedpeft_secure.config_file import load_config, parse_config
from fedpeft_secure.preflight import check

ROOT = Path(__file__).parent.parent
EXAMPLES = sorted((ROOT / "examples").glob("*.toml"))
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_examples_pass_every_check_before_a_run(path):
    check(load_config(path))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_examples_change_something(path):
    assert load_config(path) != fedpeft_secure.Config()


def test_there_are_examples():
    assert len(EXAMPLES) >= 4


def test_the_readmes_configuration_is_valid():
    (block,) = _blocks("toml")
    check(parse_config(tomllib.loads(block)))


def test_the_readmes_python_names_exist():
    (block,) = _blocks("python")
    compile(block, "README.md", "exec")
    for name in re.findall(r"from fedpeft_secure import (\w+)", block):
        assert hasattr(fedpeft_secure, name)
    for section, field in re.findall(r"result\.(\w+)\.(\w+)", block):
        inner = fedpeft_secure.Result.model_fields[section].annotation
        assert field in inner.model_fields


def test_every_local_link_of_the_readme_leads_somewhere():
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", README)
    assert len(links) > 5
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_the_readme_names_every_command():
    named = (*cli.app.registered_commands, *cli.app.registered_groups)
    assert [one.name for one in named if not re.search(rf"fedpeft {one.name}\b", README)] == []


def _blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)
