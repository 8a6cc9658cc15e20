"""AES-CTR mask streams, added in place through one reused buffer."""

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import CTR

from secagg.codec import Layout, Segment
from secagg.crypto import derive_from, digest
from secagg.packing import Residues

SELF_MASK = "self-mask"
PAIR_MASK = "pair-mask"
HELPER_MASK = "helper-mask"
_CHUNK_BYTES = 1 << 17
_ZERO = memoryview(bytes(_CHUNK_BYTES))


def mask_label(purpose: str, *, segment: Segment, session: bytes) -> bytes:
    """The HKDF label of one segment's masks: bound to version, purpose, session, vector name, length and bit width."""
    shape = segment.length.to_bytes(8, "big") + segment.num_bits.to_bytes(1, "big")
    return digest(purpose, session, segment.name.encode(), shape)


class Masker:
    """Adds masks to contributions of one session.

    Guarantee: each mask is uniform modulo 2^m in every coordinate, and streams of other keys, purposes, sessions,
        segments, lengths and widths are independent, if AES and HKDF are pseudorandom.
    Assumes: a key serves one session and one contribution.
    """

    def __init__(self, layout: Layout, *, session: bytes) -> None:
        self._layout = layout
        self._labels = {
            purpose: tuple(mask_label(purpose, segment=segment, session=session) for segment in layout.segments)
            for purpose in (SELF_MASK, PAIR_MASK, HELPER_MASK)
        }
        self._buffer = bytearray(_CHUNK_BYTES + 16)  # a cipher asks for a block more than it writes

    def add(self, target: tuple[Residues, ...], *, key: bytes, purpose: str) -> None:
        """Adds the mask of `key` to each segment of `target`, in place and modulo the word."""
        for array, label in zip(target, self._labels[purpose], strict=True):
            self._apply(np.add, array, derive_from(key, label))

    def subtract(self, target: tuple[Residues, ...], *, key: bytes, purpose: str) -> None:
        """Inverts `add`."""
        for array, label in zip(target, self._labels[purpose], strict=True):
            self._apply(np.subtract, array, derive_from(key, label))

    def _apply(self, operation: np.ufunc, array: Residues, aes_key: bytes) -> None:
        # The key is fresh for this stream, hence the zero counter: no (key, counter) pair occurs twice.
        stream = Cipher(AES256(aes_key), CTR(bytes(16))).encryptor()
        words = _CHUNK_BYTES // array.itemsize
        mask = np.frombuffer(self._buffer, dtype=array.dtype.newbyteorder("<"), count=words)
        for start in range(0, len(array), words):
            part = array[start : start + words]
            stream.update_into(_ZERO[: part.nbytes], self._buffer)
            operation(part, mask[: len(part)], out=part)
