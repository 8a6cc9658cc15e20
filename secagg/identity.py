"""Who is who: long-lived Ed25519 identities and the directory that everybody pins."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from secagg.crypto import KEY_BYTES, Entropy, digest, ed25519_public, seal, sign, unseal
from secagg.errors import PlanError, WireError
from secagg.wire import MAX_TEXT_BYTES, Reader, Writer

DIRECTORY_MAGIC = b"FSD\x01"
SEALED_MAGIC = b"FSI\x01"
SALT_BYTES, TAG_BYTES = 16, 16
SCRYPT_BITS = 17
"""128 MiB and about a third of a second for a guess, on one core."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Identity:
    """A client's own signing key; it never leaves the client, and only its owner ever makes it."""

    private: bytes = field(repr=False)
    public: bytes

    @classmethod
    def generate(cls, entropy: Entropy = os.urandom) -> "Identity":
        """Makes a fresh identity."""
        return cls.from_private(entropy(KEY_BYTES))

    @classmethod
    def from_private(cls, private: bytes) -> "Identity":
        """Derives the public half."""
        return cls(private=private, public=ed25519_public(private))

    def sign(self, message: bytes) -> bytes:
        """Signs with Ed25519; 64 bytes."""
        return sign(self.private, message)

    def save(self, path: Path, *, passphrase: bytes = b"") -> None:
        """Writes the key to a new file of mode 0600, encrypted unless `passphrase` is empty; never over another one.

        Guarantee: with a passphrase, who reads the file has to guess it, at scrypt's price for every guess.
        Does not cover: who reads this process's memory, or its passphrase file.
        """
        written = _sealed(self.private, passphrase) if passphrase else self.private  # first: it takes a while
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            raise PlanError(f"{path}: an identity is already there; move it away to make a new one") from None
        with os.fdopen(descriptor, "wb") as file:
            file.write(written)

    @classmethod
    def load(cls, path: Path, *, passphrase: bytes = b"") -> "Identity":
        """Reads what `save` wrote; raises WireError for another file, or a wrong passphrase."""
        data = path.read_bytes()
        if len(data) == KEY_BYTES:
            return cls.from_private(data)
        if not data.startswith(SEALED_MAGIC):
            raise WireError(f"{path}: not an identity key of {KEY_BYTES} bytes")
        return cls.from_private(_unsealed(data, passphrase, path))


def _sealed(private: bytes, passphrase: bytes) -> bytes:
    salt = os.urandom(SALT_BYTES)
    return SEALED_MAGIC + salt + seal(_passphrase_key(passphrase, salt), private, context=SEALED_MAGIC + salt)


def _unsealed(data: bytes, passphrase: bytes, path: Path) -> bytes:
    head = data[: len(SEALED_MAGIC) + SALT_BYTES]
    salt = head[len(SEALED_MAGIC) :]
    if not passphrase or len(data) != len(head) + KEY_BYTES + TAG_BYTES:
        raise WireError(f"{path}: this identity is encrypted, or cut short; give its passphrase")
    private = unseal(_passphrase_key(passphrase, salt), data[len(head) :], context=head)
    if private is None:
        raise WireError(f"{path}: the passphrase is wrong, or the file is damaged")
    return private


def _passphrase_key(passphrase: bytes, salt: bytes) -> bytes:
    """A fresh salt gives a fresh key, so that sealing with it once, under the zero nonce, is safe."""
    return Scrypt(salt=salt, length=KEY_BYTES, n=1 << SCRYPT_BITS, r=8, p=1).derive(passphrase)


@dataclass(frozen=True, kw_only=True, slots=True)
class KeyDirectory:
    """Every member's public identity key, pinned by all of them; its fingerprint is part of each round's plan.

    Args: members: {client: its public key}. key_holder: public key of the third party of sums in one message; or empty.
    """

    members: Mapping[str, bytes]
    key_holder: bytes = b""

    def __post_init__(self) -> None:
        for name, public in self.members.items():
            if len(name.encode()) > MAX_TEXT_BYTES:
                raise PlanError(f"directory: a name is longer than {MAX_TEXT_BYTES} bytes")
            if len(public) != KEY_BYTES:
                raise PlanError(f"directory: key of {name!r} has {len(public)} bytes, {KEY_BYTES} needed")
        if len(set(self.members.values())) != len(self.members):
            raise PlanError("directory: two members share a key; every member needs its own")
        if len(self.key_holder) not in (0, KEY_BYTES) or self.key_holder in self.members.values():
            raise PlanError(f"directory: the key holder needs a key of {KEY_BYTES} bytes that is no member's")

    def to_bytes(self) -> bytes:
        """Encodes the members in the order of their names."""
        names = sorted((name.encode(), public) for name, public in self.members.items())
        writer = Writer(DIRECTORY_MAGIC).uint(len(names), num_bytes=4)
        return writer.raw(
            b"".join([bytes([len(name)]) + name + public for name, public in names]) + self.key_holder
        ).done()

    @classmethod
    def from_bytes(cls, data: bytes) -> "KeyDirectory":
        """Parses strictly; raises WireError."""
        reader = Reader(data=data, what="key directory").magic(DIRECTORY_MAGIC)
        entries = []
        for _ in range(reader.uint(num_bytes=4)):
            entries.append((reader.text(), reader.raw(KEY_BYTES)))
        key_holder = reader.raw(KEY_BYTES) if reader.position + KEY_BYTES == len(data) else b""
        reader.end()
        if [name for name, _ in entries] != sorted({name for name, _ in entries}):
            raise WireError("key directory: names are not unique and sorted")
        return cls(members=dict(entries), key_holder=key_holder)

    @property
    def fingerprint(self) -> bytes:
        """SHA-256 over all members."""
        return digest("directory", self.to_bytes())
