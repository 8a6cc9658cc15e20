"""docs/settings.md is what the configuration's classes say, and they say something about every key."""

import re
import tomllib
from pathlib import Path

import pytest

from fedpeft_secure.config_file import known_keys, load_config
from fedpeft_secure.errors import ConfigError
from fedpeft_secure.settings.reference import Key, page, sections

DOCS = Path(__file__).parents[3] / "docs"
KEYS = {(f"{section.path}.{key.name}").lstrip("."): key for section in sections() for key in section.keys}


def test_the_page_is_current() -> None:
    assert (DOCS / "settings.md").read_text(encoding="utf-8") == page(), (
        "python -m fedpeft_secure.settings.reference > docs/settings.md"
    )


def test_every_key_of_the_configuration_is_there() -> None:
    assert set(known_keys()) <= set(KEYS)
    assert {"privacy.per_client.NAME.rounds", "privacy.groups.NAME.share", "allocation.devices.NAME.gflops"} <= set(
        KEYS
    )


@pytest.mark.parametrize("name", KEYS)
def test_every_key_has_one_plain_sentence(name: str) -> None:
    meaning = KEYS[name].meaning
    assert re.fullmatch(r"\S.*\.", meaning), f"{name}: write a sentence under it"
    assert len(meaning) <= 120
    assert not re.search(r"[^.]\. [A-Z]", meaning), "one sentence"


def test_what_has_no_default_must_be_given() -> None:
    needed = {name for name, key in KEYS.items() if key.default == "must be given"}
    written_by_a_command = {name for name in KEYS if name.startswith("allocation.importance.")}
    assert needed - written_by_a_command == {
        "privacy.per_client.distribution",
        "privacy.groups.NAME.epsilon",
        "privacy.groups.NAME.share",
    }


@pytest.mark.parametrize(
    "name",
    [
        name
        for name, key in KEYS.items()
        if key.default and not any(part in name for part in ("NAME", "per_client.", "importance."))
    ],
)
def test_defaults_are_what_a_file_would_say(name: str) -> None:
    value = tomllib.loads(f"value = {KEYS[name].default.strip('`')}")["value"]
    config = load_config().to_dict()
    for part in name.split("."):
        config = config[part]
    assert config == value


@pytest.mark.parametrize(
    ("name", "values", "wrong"),
    [
        ("model.max_length", "integer from 4 to 8,192", 3),
        ("privacy.delta", "number > 0, ≤ 0.01", 0.02),
        ("privacy.epsilon", 'number > 0 or `"inf"`', 0),
        ("peft.target_rank", 'integer from 1 to 1,024 or `"auto"`', '"most"'),
        ("peft.targets", "list of: text", 3),
        ("secure_sum.server", '`"malicious"`, `"curious"`', '"honest"'),
        ("training.control_variates", "`true`, `false`", 2),
        ("training.sample_rate", "number > 0, ≤ 1", 1.1),
    ],
)
def test_what_is_not_among_the_values_is_refused(name: str, values: str, wrong: object) -> None:
    assert KEYS[name].values == values
    with pytest.raises(ConfigError, match=name):
        load_config(overrides=[f"{name}={wrong}"])


def test_units_stand_in_a_column_of_their_own() -> None:
    assert KEYS["model.max_length"].unit == "tokens"
    assert KEYS["allocation.devices.NAME.memory_mib"].unit == "MiB"
    assert KEYS["allocation.round_seconds"] == Key(
        name="round_seconds",
        values='number > 0 or `"inf"`',
        default='`"inf"`',
        unit="s",
        meaning='The longest local training of a round, for "adaptive".',
    )


def test_every_link_of_the_page_leads_somewhere() -> None:
    text = page()
    for path, anchor in re.findall(r"\[([\w.]+)\]\(#([\w-]+)\)", text):
        assert f"## `[{path}]`\n" in text
        assert anchor == path.lower().replace(".", "")
    for file in re.findall(r"\]\(([\w-]+\.md)\)", text):
        assert (DOCS / file).is_file()
