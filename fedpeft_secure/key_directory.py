"""The file that everybody pins: who has which public identity key."""

import re
from collections.abc import Sequence
from pathlib import Path

import secagg
from fedpeft_secure.errors import InputError
from fedpeft_secure.rundir import write_atomically

_MEMBER = re.compile(r"(?P<name>[^=]+)=(?P<public>[0-9a-fA-F]{64})")
_PUBLIC = re.compile(r"[0-9a-fA-F]{64}")


def parse_directory(members: Sequence[str], *, key_holder: str | None) -> secagg.KeyDirectory:
    """The directory of members that are given as texts.

    Args:
        members: such as "client-1=" and the 64 hexadecimal digits that `fedpeft keys` prints.
        key_holder: the digits that `fedpeft key-holder init` prints, or None without one.
    Raises:
        InputError: If a text is no name and key, or a name is given twice.
        secagg.PlanError: If two parties share a key.
    """
    found: dict[str, bytes] = {}
    for member in members:
        match = _MEMBER.fullmatch(member)
        if match is None:
            raise InputError(
                f"{member!r} is no NAME=PUBLIC; PUBLIC is the 64 hexadecimal digits that `fedpeft keys` prints"
            )
        if match["name"] in found:
            raise InputError(f"{match['name']}: given twice; every name has one key")
        found[match["name"]] = bytes.fromhex(match["public"])
    if key_holder is not None and not _PUBLIC.fullmatch(key_holder):
        raise InputError(
            f"--key-holder {key_holder!r}: give the 64 hexadecimal digits that `fedpeft key-holder init` prints"
        )
    return secagg.KeyDirectory(members=found, key_holder=bytes.fromhex(key_holder or ""))


def write_directory(directory: secagg.KeyDirectory, path: Path) -> None:
    """Writes the directory to a new file.

    Guarantee: an existing file is never overwritten: parties that pinned one must not find another in its place.
    Raises:
        InputError: If something is there already, or it cannot be written.
    """
    if path.exists():
        raise InputError(f"--out {path}: there is a file already; give a new one, as a pinned directory never changes")
    try:
        write_atomically(path, directory.to_bytes(), mode=0o644)
    except OSError as error:
        raise InputError(f"--out {path}: {error.strerror}; give a file in a directory that can be written") from None
