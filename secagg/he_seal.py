"""The only door to TenSEAL: keys, encryption and decryption by the Microsoft SEAL that it ships.

Everything that goes in or comes out is integers. All randomness comes from the caller: SEAL's generator gives every
operation of one context the same stream, so each key and each ciphertext gets a context and a seed of its own.
"""

import os
import struct
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import pyarrow

from secagg.crypto import Entropy
from secagg.errors import PlanError, WireError
from secagg.he_digits import Digits
from secagg.he_parameters import HeParameters
from secagg.he_wire import Polynomials

SEED_BYTES: Final = 64
_SERIAL_HEADER_BYTES = 16
_MODE = 5  # where a header says how the rest is compressed
_MEMBERS = "<4Q?3QdQ"  # parms_id, NTT form, polynomials, degree, primes, scale, correction
_MEMBERS_BYTES = struct.calcsize(_MEMBERS)
_INFLATE: Final[dict[int, Callable[[bytes, int], bytes]]] = {
    0: lambda data, _size: data,
    1: lambda data, size: zlib.decompress(data, bufsize=size),
    2: lambda data, size: bytes(pyarrow.decompress(data, size, codec="zstd", asbytes=True)),
}
Slots = list[int] | list[complex]
Encode = Callable[[Slots, Any], None]
_CORRECTION = 1  # SEAL's factor of BGV; BFV and CKKS do not use it


def seal() -> Any:
    """TenSEAL's binding of SEAL; raises PlanError where it is not installed."""
    try:
        from tenseal import sealapi
    except ImportError:
        raise PlanError(
            "the ckks and bfv sums need TenSEAL; `pip install fedpeft-secure[he]`, or use masked or helper"
        ) from None
    return sealapi


def secret_key(parameters: HeParameters, seed: bytes) -> Any:
    """The ternary secret key that follows from a 64-byte seed."""
    return seal().KeyGenerator(_seeded(parameters, seed)).secret_key()


def public_key(parameters: HeParameters, secret: bytes, *, randomness: bytes) -> Polynomials:
    """A public key, 2 polynomials, of the secret key of one seed with the randomness of another."""
    key = seal().PublicKey()
    context = _seeded(parameters, randomness)
    seal().KeyGenerator(context, secret_key(parameters, secret)).create_public_key(key)
    return _coefficients(key.data(), primes=len(parameters.key_primes), degree=parameters.degree)


def encrypt(parameters: HeParameters, public: Polynomials, digits: Digits, *, entropy: Entropy) -> Polynomials:
    """Encrypts digits, shape (count,), into 2·ciphertexts polynomials."""
    context = _context(parameters)
    data = _serialised(public, parms_id=context.key_parms_id(), is_ntt=True, scale=1.0)
    key, encode, parts = _loaded(seal().PublicKey(), context, data), _encoder(parameters, context), []
    for slots in _slots(parameters, digits):
        plaintext, ciphertext = seal().Plaintext(), seal().Ciphertext()
        encode(slots, plaintext)
        seal().Encryptor(_seeded(parameters, entropy(SEED_BYTES)), key).encrypt(plaintext, ciphertext)
        parts.append(_coefficients(ciphertext, primes=len(parameters.data_primes), degree=parameters.degree))
    return tuple(np.concatenate(arrays) for arrays in zip(*parts, strict=True))


def decrypt(parameters: HeParameters, seed: bytes, polynomials: Polynomials, *, count: int) -> Digits:
    """Decrypts a sum and rounds it to integers: what leaves this function is digits, never a noisy plaintext.

    Raises: WireError where SEAL refuses the ciphertext.
    """
    context = _context(parameters)
    decryptor = seal().Decryptor(context, secret_key(parameters, seed))
    encoder = _plain_encoder(parameters, context)
    is_ntt, scale = parameters.scheme == "ckks", float(parameters.scale or 1)
    parts = []
    for index in range(parameters.ciphertexts):
        pair = tuple(array[2 * index : 2 * index + 2] for array in polynomials)
        data = _serialised(pair, parms_id=context.first_parms_id(), is_ntt=is_ntt, scale=scale)
        plaintext = seal().Plaintext()
        decryptor.decrypt(_loaded(seal().Ciphertext(), context, data), plaintext)
        if parameters.scheme == "bfv":
            parts.append(_unpacked(np.array(encoder.decode_uint64(plaintext), dtype=np.int64), parameters))
        else:
            slots = np.array(encoder.decode_complex(plaintext))
            parts.append(np.concatenate([np.rint(slots.real), np.rint(slots.imag)]).astype(np.int64))
    return np.concatenate(parts)[:count]


def _seeded(parameters: HeParameters, seed: bytes) -> Any:
    """A context for one draw: another draw from it would repeat the same stream."""
    return _build(parameters, seal().Blake2xbPRNGFactory(list(struct.unpack("<8Q", seed))))


@lru_cache(maxsize=8)
def _context(parameters: HeParameters) -> Any:
    return _build(parameters, None)


def _build(parameters: HeParameters, factory: Any) -> Any:
    api = seal()
    scheme = api.SCHEME_TYPE.BFV if parameters.scheme == "bfv" else api.SCHEME_TYPE.CKKS
    chosen = api.EncryptionParameters(scheme)
    chosen.set_poly_modulus_degree(parameters.degree)
    chosen.set_coeff_modulus([api.Modulus(prime) for prime in parameters.key_primes])
    if parameters.plain_modulus:
        chosen.set_plain_modulus(parameters.plain_modulus)
    if factory is not None:
        chosen.set_random_generator(factory)
    context = api.SEALContext(chosen, True, api.SEC_LEVEL_TYPE.TC128)
    if not context.parameters_set():
        raise PlanError(f"SEAL refuses the parameters: {context.parameters_error_message()}")
    return context


def _plain_encoder(parameters: HeParameters, context: Any) -> Any:
    return seal().BatchEncoder(context) if parameters.scheme == "bfv" else seal().CKKSEncoder(context)


def _encoder(parameters: HeParameters, context: Any) -> Encode:
    encoder = _plain_encoder(parameters, context)
    if parameters.scheme == "bfv":
        return cast(Encode, encoder.encode)
    scale, level = float(parameters.scale), context.first_parms_id()
    return lambda slots, plaintext: encoder.encode(slots, level, scale, plaintext)


def _slots(parameters: HeParameters, digits: Digits) -> Iterator[Slots]:
    """The slots of one ciphertext after the other; the last is filled up with zeros."""
    padded = np.zeros(parameters.ciphertexts * parameters.slots * parameters.per_slot, dtype=np.int64)
    padded[: len(digits)] = digits
    for lanes in padded.reshape(parameters.ciphertexts, parameters.per_slot, parameters.slots):
        if parameters.scheme == "ckks":
            yield (lanes[0] + 1j * lanes[1]).tolist()
        else:
            shifts = np.arange(parameters.per_slot)[:, None] * parameters.digit_bits
            yield (lanes << shifts).sum(axis=0).tolist()


def _unpacked(slots: Digits, parameters: HeParameters) -> Digits:
    """Cuts slots into digits; whatever is above the last full digit stays in the last, where its bound is checked."""
    lanes, mask = [], (1 << parameters.digit_bits) - 1
    for _ in range(parameters.per_slot - 1):
        lanes.append(slots & mask)
        slots = slots >> parameters.digit_bits
    return np.concatenate([*lanes, slots])


def _coefficients(ciphertext: Any, *, primes: int, degree: int) -> Polynomials:
    """Reads the 2 polynomials of a SEAL object, prime by prime."""
    with _as_path(b"") as path:
        ciphertext.save(path)
        data = Path(path).read_bytes()
    size = 8 * 2 * primes * degree
    body = _INFLATE[data[_MODE]](data[_SERIAL_HEADER_BYTES:], _MEMBERS_BYTES + _SERIAL_HEADER_BYTES + 8 + size)
    flat = np.frombuffer(body[-size:], dtype="<u8").astype(np.uint64)
    return tuple(np.ascontiguousarray(array) for array in flat.reshape(2, primes, degree).transpose(1, 0, 2))


def _serialised(polynomials: Polynomials, *, parms_id: list[int], is_ntt: bool, scale: float) -> bytes:
    """Two validated polynomials in SEAL 4's own uncompressed format, the only one in which it takes coefficients."""
    data = np.stack(polynomials, axis=1).astype("<u8", copy=False)
    _, primes, degree = data.shape
    values = _headed(struct.pack("<Q", data.size) + data.tobytes())
    return _headed(struct.pack(_MEMBERS, *parms_id, is_ntt, 2, degree, primes, scale, _CORRECTION) + values)


def _headed(body: bytes) -> bytes:
    return _version() + bytes(3) + struct.pack("<Q", _SERIAL_HEADER_BYTES + len(body)) + body


@lru_cache(maxsize=1)
def _version() -> bytes:
    """Magic and version of the installed SEAL's format, from an object that it wrote itself."""
    with _as_path(b"") as path:
        seal().EncryptionParameters(seal().SCHEME_TYPE.BFV).save(path)
        with Path(path).open("rb") as file:
            return file.read(5)


def _loaded(target: Any, context: Any, data: bytes) -> Any:
    with _as_path(data) as path:
        try:
            target.load(context, path)
        except (ValueError, RuntimeError) as error:
            raise WireError(f"SEAL refuses the ciphertext or key: {error}") from error
    return target


@contextmanager
def _as_path(data: bytes) -> Iterator[str]:
    """SEAL reads and writes files only: an anonymous one in memory where the system has them, else a temporary one."""
    if sys.platform == "linux":
        descriptor = os.memfd_create("seal")
        try:
            with os.fdopen(descriptor, "wb", closefd=False) as file:
                file.write(data)
            yield f"/proc/self/fd/{descriptor}"
        finally:
            os.close(descriptor)
    else:  # pragma: no cover - not on Linux
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "seal"
            path.write_bytes(data)
            yield str(path)
