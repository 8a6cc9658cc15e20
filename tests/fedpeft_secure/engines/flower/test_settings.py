from pathlib import Path
from typing import Any

import pytest
import tomli_w

import secagg
from fedpeft_secure.engines.flower.settings import NodeSettings, ServerSettings, read_passphrase
from fedpeft_secure.errors import InputError

NODE = {
    "name": "client-1",
    "identity": "own.key",
    "directory": "keys",
    "server_key": "00" * 32,
    "policy": "policy.toml",
    "ledger": "ledger.sqlite",
    "data": "/data/own.csv",
    "classes": ["calm", "angry"],
    "socket": "run/worker.sock",
}


def write(folder: Path, tables: dict[str, Any]) -> Path:
    path = folder / "settings.toml"
    path.write_text(tomli_w.dumps(tables))
    return path


def test_relative_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    settings = NodeSettings.load(write(tmp_path, NODE))
    assert settings.identity == tmp_path / "own.key"
    assert settings.socket == tmp_path / "run" / "worker.sock"
    assert settings.data == Path("/data/own.csv")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sokcet": "x"}, "sokcet is an unknown key"),
        ({"server_key": "beef"}, "server_key should match .*: 64 hexadecimal digits, as `fedpeft keys` prints them"),
        ({"physical_batch": 0}, "physical_batch should be greater than or equal to 1"),
        ({"physical_batch": 0, "name": ""}, "name should have at least 1 character; physical_batch should"),
        ({"classes": ["one"]}, r"classes should have at least 2 items .*: all that a label may be, in the run's order"),
    ],
)
def test_a_wrong_key_is_named(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        NodeSettings.load(write(tmp_path, NODE | change))


def test_a_missing_key_is_named_with_what_to_write(tmp_path: Path) -> None:
    rest = {key: value for key, value in NODE.items() if key not in ("classes", "identity")}
    with pytest.raises(
        InputError, match=r"identity is missing: the file .*; classes is missing: all that a label"
    ) as it:
        NodeSettings.load(write(tmp_path, rest))
    assert "\n" not in str(it.value)


def test_a_missing_or_broken_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file or directory; give an existing TOML file"):
        NodeSettings.load(tmp_path / "none.toml")
    (tmp_path / "settings.toml").write_text("= 3")
    with pytest.raises(InputError, match="is no valid TOML"):
        ServerSettings.load(tmp_path / "settings.toml")


def test_passphrases_come_from_a_file_or_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDPEFT_PASSPHRASE", "from the environment")
    assert read_passphrase(None) == b"from the environment"
    (tmp_path / "passphrase").write_text("from a file\n")
    assert read_passphrase(tmp_path / "passphrase") == b"from a file"
    (tmp_path / "empty").write_text(" \n")
    with pytest.raises(InputError, match=r"passphrase_file .*empty: no passphrase is in it, and the key would not be"):
        read_passphrase(tmp_path / "empty")
    with pytest.raises(InputError, match=r"passphrase_file .*No such file"):
        read_passphrase(tmp_path / "none")


def test_keys_and_directories_that_cannot_be_read_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FEDPEFT_PASSPHRASE", raising=False)
    settings = NodeSettings.load(write(tmp_path, NODE))
    with pytest.raises(InputError, match="`fedpeft keys` makes one"):
        settings.load_identity()
    with pytest.raises(InputError, match="see `fedpeft key-directory`"):
        settings.load_directory()
    settings.identity.write_bytes(b"short")
    settings.directory.write_bytes(b"short")
    with pytest.raises(InputError, match="not an identity key"):
        settings.load_identity()
    with pytest.raises(InputError, match=r"directory .*key directory"):
        settings.load_directory()
    settings.identity.unlink()
    identity = secagg.Identity.generate()
    identity.save(settings.identity)
    assert settings.load_identity() == identity
