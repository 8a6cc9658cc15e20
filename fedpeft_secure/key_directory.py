"""Makes the key directory that all parties pin, from public keys on the command line."""

from collections.abc import Iterable
from pathlib import Path

import secagg
from fedpeft_secure.errors import InputError
from fedpeft_secure.rundir import write_atomically


def make_directory(members: Iterable[str], out: Path) -> secagg.KeyDirectory:
    """Writes a new directory file.

    Args:
        members: texts "NAME=KEY", the key in hex; the name "key-holder" is that of the third party.
        out: the file; one that is there is not replaced.

    Raises:
        InputError: If a text is no name and key, a name or key comes twice, or the file is there.
    """
    keys: dict[str, bytes] = {}
    for member in members:
        name, equals, key = member.partition("=")
        try:
            public = bytes.fromhex(key)
        except ValueError:
            public = b""
        if not (name and equals and public) or name in keys:
            raise InputError(f"directory: {member!r}: give NAME=KEY, each name once, the key as `fedpeft keys` said it")
        keys[name] = public
    holder = keys.pop(secagg.messages.KEY_HOLDER, b"")
    directory = secagg.KeyDirectory(members=keys, key_holder=holder)
    if out.exists():
        raise InputError(f"--out {out}: it is there already; a changed directory is a new file")
    try:
        write_atomically(out, directory.to_bytes())
    except OSError as error:
        raise InputError(f"--out {out}: {error.strerror}; give a file in a directory that can be written") from None
    return directory
