"""The primitives, with the protocol's labels: X25519, HKDF-SHA256, ChaCha20-Poly1305, Ed25519; masks are in `masks`.

Every key is derived under a label that names version and purpose and is bound to the session, so that no key or mask
stream serves twice.
"""

import hashlib
from collections.abc import Callable
from typing import Final

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import CTR
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from secagg.errors import RefusedError

VERSION: Final = b"fedpeft-secure/secagg/v1"
KEY_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64
_FIELD: Final = (1 << 255) - 19
_LOW_ORDER: Final = frozenset(
    {
        0,
        1,
        _FIELD - 1,
        325606250916557431795983626356110631294008115727848805560023387167927233504,
        39382357235489614581723060781553021112529911719440698176882885853963445705823,
    }
)

Entropy = Callable[[int], bytes]


def digest(label: str, *parts: bytes) -> bytes:
    """SHA-256 of version, label and parts, each with its length in front."""
    state = hashlib.sha256()
    for part in (VERSION, label.encode(), *parts):
        state.update(len(part).to_bytes(8, "big"))
        state.update(part)
    return state.digest()


def derive(key: bytes, label: str, *context: bytes) -> bytes:
    """HKDF-SHA256 of `key` under version, label and context; 32 bytes."""
    return derive_from(key, digest(label, *context))


def derive_from(key: bytes, label_digest: bytes) -> bytes:
    """HKDF-SHA256 of `key` under the digest of a label and its context; 32 bytes."""
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=label_digest).derive(key)


def seeded_entropy(seed: bytes) -> Entropy:
    """Returns a deterministic byte source, for simulations and tests only: AES-CTR under a key derived from `seed`."""
    stream = Cipher(AES256(derive(seed, "seeded-entropy")), CTR(bytes(16))).encryptor()

    def draw(num_bytes: int) -> bytes:
        return stream.update(bytes(num_bytes))

    return draw


def x25519_public(private: bytes) -> bytes:
    """The public key of a 32-byte private key."""
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def low_order(public: bytes) -> bool:
    """Whether a public key lies in the small subgroup, where every shared secret is zero."""
    return (int.from_bytes(public, "little") & ((1 << 255) - 1)) % _FIELD in _LOW_ORDER


class Agreement:
    """X25519 with one private key and many public ones; keeps the expanded key only as long as it lives."""

    def __init__(self, private: bytes) -> None:
        self._private = X25519PrivateKey.from_private_bytes(private)

    def with_public(self, public: bytes) -> bytes:
        """The shared secret; raises RefusedError for a public key of low order."""
        try:
            return self._private.exchange(X25519PublicKey.from_public_bytes(public))
        except ValueError:
            raise RefusedError("a public key is invalid: the shared secret would be zero") from None


def commit(seed: bytes) -> bytes:
    """Commits to a self-mask seed; hiding because the seed is 256 random bits."""
    return digest("commit", seed)


def sealing_key(shared: bytes, *, session: bytes, sender: str, recipient: str) -> bytes:
    """The one-time key of one sealed pair of shares."""
    return derive(shared, "share", session, sender.encode(), recipient.encode())


def pair_key(shared: bytes, *, session: bytes, first: str, second: str) -> bytes:
    """The mask key of two clients, in the order of the cohort, from their shared secret.

    Guarantee: differs for every pair, also where public keys give the same shared secret: X25519 ignores the top bit
        and the cofactor, so anybody can make another's key over into seven that look new.
    """
    return derive(shared, "pair", session, first.encode(), second.encode())


def seal(key: bytes, plaintext: bytes, *, context: bytes) -> bytes:
    """Encrypts under a key that is used once (hence the zero nonce), bound to `context`."""
    return ChaCha20Poly1305(key).encrypt(bytes(12), plaintext, context)


def unseal(key: bytes, sealed: bytes, *, context: bytes) -> bytes | None:
    """Inverts `seal`; None if the bytes were not sealed under this key and context."""
    try:
        return ChaCha20Poly1305(key).decrypt(bytes(12), sealed, context)
    except InvalidTag:
        return None


def sign(private: bytes, message: bytes) -> bytes:
    """Ed25519."""
    return Ed25519PrivateKey.from_private_bytes(private).sign(message)


def ed25519_public(private: bytes) -> bytes:
    """The public key of a 32-byte identity key."""
    return Ed25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def verified(public: bytes, signature: bytes, message: bytes) -> bool:
    """Whether `signature` is `public`'s on `message`."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True
