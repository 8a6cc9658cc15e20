"""Strict binary reading and writing: big-endian, length-prefixed, nothing optional, nothing left over."""

from dataclasses import dataclass, field

from secagg.errors import WireError

MAX_BLOB_BYTES = 1 << 30
MAX_TEXT_BYTES = 255


class Writer:
    """Appends fields; `done()` returns the bytes."""

    def __init__(self, magic: bytes) -> None:
        self._parts = [magic]

    def uint(self, value: int, *, num_bytes: int) -> "Writer":
        """Appends an unsigned integer of a fixed width; raises WireError where it does not fit."""
        if not 0 <= value < 1 << 8 * num_bytes:
            raise WireError(f"number {value} does not fit {num_bytes} unsigned bytes")
        self._parts.append(value.to_bytes(num_bytes, "big"))
        return self

    def raw(self, value: bytes) -> "Writer":
        """Appends bytes whose length the reader knows."""
        self._parts.append(value)
        return self

    def blob(self, value: bytes) -> "Writer":
        """Appends a 4-byte length and the bytes."""
        return self.uint(len(value), num_bytes=4).raw(value)

    def text(self, value: str) -> "Writer":
        """Appends a 1-byte length and UTF-8."""
        try:
            encoded = value.encode()
        except UnicodeEncodeError:
            raise WireError("a name is not text that UTF-8 can hold; rename it") from None
        if len(encoded) > MAX_TEXT_BYTES:
            raise WireError(f"name of {len(encoded)} bytes is longer than {MAX_TEXT_BYTES}; shorten it")
        return self.uint(len(encoded), num_bytes=1).raw(encoded)

    def done(self) -> bytes:
        """Returns everything appended so far."""
        return b"".join(self._parts)


@dataclass(slots=True)
class Reader:
    """Takes fields off `data` in order; every shortage, and anything left at the end, raises `WireError`.

    Guarantee: copies at most what `data` holds, so a hostile length cannot make it allocate.
    """

    data: bytes = field(repr=False)
    what: str
    position: int = 0

    def magic(self, expected: bytes) -> "Reader":
        """Checks the leading tag and version."""
        if self.raw(len(expected)) != expected:
            raise WireError(f"{self.what}: not this format or another version; expected {expected!r}")
        return self

    def raw(self, num_bytes: int) -> bytes:
        """Takes exactly `num_bytes`."""
        end = self.position + num_bytes
        if end > len(self.data):
            raise WireError(f"{self.what}: truncated at byte {len(self.data)}, {end} expected")
        value = self.data[self.position : end]
        self.position = end
        return value

    def uint(self, *, num_bytes: int) -> int:
        """Takes an unsigned integer of a fixed width."""
        return int.from_bytes(self.raw(num_bytes), "big")

    def blob(self) -> bytes:
        """Takes a 4-byte length and as many bytes."""
        length = self.uint(num_bytes=4)
        if length > MAX_BLOB_BYTES:
            raise WireError(f"{self.what}: field of {length} bytes is larger than {MAX_BLOB_BYTES}")
        return self.raw(length)

    def text(self) -> str:
        """Takes a 1-byte length and UTF-8."""
        try:
            return self.raw(self.uint(num_bytes=1)).decode()
        except UnicodeDecodeError:
            raise WireError(f"{self.what}: a name is not UTF-8") from None

    def end(self) -> None:
        """Checks that nothing is left."""
        if self.position != len(self.data):
            raise WireError(f"{self.what}: {len(self.data) - self.position} bytes too many")
