from pathlib import Path

import pytest
from typer.testing import CliRunner

import secagg
from fedpeft_secure import cli
from fedpeft_secure.errors import InputError
from fedpeft_secure.key_directory import parse_directory, write_directory

KEYS = [secagg.Identity.generate(secagg.seeded_entropy(bytes([index]))).public.hex() for index in range(4)]
MEMBERS = [f"client-{index}={KEYS[index]}" for index in (1, 2, 3)]


def test_members_and_key_holder_by_name() -> None:
    directory = parse_directory(MEMBERS, key_holder=KEYS[0])
    assert directory.members == {f"client-{index}": bytes.fromhex(KEYS[index]) for index in (1, 2, 3)}
    assert directory.key_holder == bytes.fromhex(KEYS[0])
    assert parse_directory(MEMBERS, key_holder=None).key_holder == b""


def test_the_order_of_the_members_makes_no_difference() -> None:
    assert (
        parse_directory(MEMBERS[::-1], key_holder=None).fingerprint
        == parse_directory(MEMBERS, key_holder=None).fingerprint
    )


@pytest.mark.parametrize(
    ("members", "holder", "message"),
    [
        (["client-1"], None, r"'client-1' is no NAME=PUBLIC"),
        ([f"client-1={KEYS[1][:-1]}"], None, "64 hexadecimal digits"),
        ([f"={KEYS[1]}"], None, "is no NAME=PUBLIC"),
        ([MEMBERS[0], f"client-1={KEYS[2]}"], None, "client-1: given twice"),
        (MEMBERS, "no key", r"--key-holder 'no key': give the 64"),
    ],
)
def test_what_is_no_name_and_key_is_refused(members: list[str], holder: str | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_directory(members, key_holder=holder)


def test_nobody_has_the_key_of_another() -> None:
    with pytest.raises(secagg.PlanError, match="share a key"):
        parse_directory([f"a={KEYS[1]}", f"b={KEYS[1]}"], key_holder=None)


def test_a_pinned_directory_is_never_replaced(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    write_directory(parse_directory(MEMBERS, key_holder=None), path)
    before = path.read_bytes()
    with pytest.raises(InputError, match="there is a file already"):
        write_directory(parse_directory(MEMBERS[:2], key_holder=None), path)
    assert path.read_bytes() == before
    with pytest.raises(InputError, match="No such file or directory; give a file"):
        write_directory(parse_directory(MEMBERS, key_holder=None), tmp_path / "nowhere" / "keys")


def test_the_commands_make_what_a_key_holder_takes(tmp_path: Path) -> None:
    def printed(*arguments: str) -> str:
        done = CliRunner().invoke(cli.app, list(arguments))
        assert done.exit_code == 0, done.output
        return done.stdout.strip()

    clients = [f"{name}={printed('keys', '--out', str(tmp_path / name))}" for name in ("a", "b", "c")]
    holder = printed("key-holder", "init", "--out", str(tmp_path / "holder"))
    path = tmp_path / "keys"
    fingerprint = printed("key-directory", *clients, "--key-holder", holder, "--out", str(path))
    directory = secagg.KeyDirectory.from_bytes(path.read_bytes())
    assert directory.fingerprint.hex() == fingerprint
    assert sorted(directory.members) == ["a", "b", "c"]
    assert directory.key_holder == secagg.Identity.load(tmp_path / "holder" / "identity.key").public
    assert directory.members["b"] == secagg.Identity.load(tmp_path / "b").public
