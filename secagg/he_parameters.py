"""Parameters of the BFV and CKKS sums, chosen by every party for itself from the public plan: nothing is negotiated."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from secagg.errors import PlanError
from secagg.he_noise import bfv_noise, ckks_noise, transform_error

MAX_MODULUS_BITS: Final = {1024: 27, 2048: 54, 4096: 109, 8192: 218, 16384: 438, 32768: 881}
"""Largest total modulus at 128 bits against classical attacks, for a uniform ternary secret.

Source: Albrecht et al., Homomorphic Encryption Standard, 2018, table 1.
"""
DEGREES: Final = (1024, 2048, 4096, 8192)
MAX_PRIME_BITS: Final = 60  # SEAL's
MAX_PLAIN_BITS: Final = 60
SPECIAL_BITS: Final = 30
"""Enough to make fresh noise vanish beside the rounding of the switch; special primes never travel in ciphertexts."""
_WITNESSES: Final = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37)  # decide every number below 2^64


@dataclass(frozen=True, kw_only=True, slots=True)
class HeParameters:
    """One parameter set.

    Args: scheme: "bfv" or "ckks". degree: N. data_primes: the ciphertext modulus. special_prime: used inside encryption
        only, or 0. plain_modulus: t of BFV, else 0. scale: of CKKS, else 0. digit_bits: width of a summed digit.
        per_slot: digits in a slot (CKKS: real and imaginary part). ciphertexts: of one client.
    """

    scheme: str
    degree: int
    data_primes: tuple[int, ...]
    special_prime: int
    plain_modulus: int
    scale: int
    digit_bits: int
    per_slot: int
    ciphertexts: int

    @property
    def slots(self) -> int:
        """Slots of one ciphertext."""
        return self.degree if self.scheme == "bfv" else self.degree // 2

    @property
    def key_primes(self) -> tuple[int, ...]:
        """The modulus of the public key."""
        return (*self.data_primes, self.special_prime) if self.special_prime else self.data_primes

    @property
    def modulus_bits(self) -> int:
        """Bits of the whole modulus, which decides the security."""
        return math.prod(self.key_primes).bit_length()

    @property
    def upload_bytes(self) -> int:
        """Bytes of one client's ciphertexts on the wire."""
        return polynomial_bytes(self.data_primes, degree=self.degree) * 2 * self.ciphertexts

    @property
    def summary(self) -> str:
        """One line for people."""
        chain = "+".join(str(prime.bit_length()) for prime in self.data_primes)
        special = f", {self.special_prime.bit_length()} more inside the key" if self.special_prime else ""
        plain = f"t of {self.plain_modulus.bit_length()} bits" if self.plain_modulus else f"scale {self.scale}"
        return (
            f"degree {self.degree}, modulus {chain} bits{special}, {plain}, {self.per_slot} values a slot, "
            f"{self.upload_bytes} bytes a client"
        )


def polynomial_bytes(primes: tuple[int, ...], *, degree: int) -> int:
    """Bytes of one packed polynomial."""
    return sum(degree * prime.bit_length() // 8 for prime in primes)


@lru_cache(maxsize=64)
def bfv_parameters(*, count: int, clients: int, digit_bits: int) -> HeParameters:
    """The shortest BFV upload of `count` digits whose sums over `clients` stay below 2^digit_bits, and decrypt exactly.

    Correct because t > 2^(digit_bits·per_slot), so no slot wraps, and noise stays below q/4t: half of what it may be.
    Raises: PlanError.
    """
    found = []
    for degree in DEGREES:
        for per_slot in range(1, (MAX_PLAIN_BITS - 1) // digit_bits + 1):
            plain = prime_above(1 << digit_bits * per_slot, degree=degree)
            ciphertexts = -(-count // (degree * per_slot))
            for special in _special_primes(degree):
                noise = bfv_noise(degree=degree, clients=clients, ciphertexts=ciphertexts, special_prime=special)
                primes = _data_primes(math.ceil(4 * plain * noise), degree=degree, special_prime=special)
                if primes:
                    found.append(
                        HeParameters(
                            scheme="bfv",
                            degree=degree,
                            data_primes=primes,
                            special_prime=special,
                            plain_modulus=plain,
                            scale=0,
                            digit_bits=digit_bits,
                            per_slot=per_slot,
                            ciphertexts=ciphertexts,
                        )
                    )
    return _shortest(found, digit_bits=digit_bits)


@lru_cache(maxsize=64)
def ckks_parameters(*, count: int, clients: int, largest: int, digit_bits: int) -> HeParameters:
    """The shortest CKKS upload of `count` digits of absolute value up to `largest` a client, whose sums round exactly.

    Correct because scaled noise and the error of the transforms stay below one half, and no coefficient of the sum
    reaches q/2.
    Raises: PlanError.
    """
    found = []
    for degree in DEGREES:
        reach = math.sqrt(2) * clients * largest
        spare = 0.49 - transform_error(degree=degree, largest=reach)
        ciphertexts = -(-count // degree)
        for special in _special_primes(degree) if spare > 0.1 else ():
            noise = ckks_noise(degree=degree, clients=clients, ciphertexts=ciphertexts, special_prime=special)
            scale = math.ceil(noise / spare)
            # A coefficient is a mean over slots, so it is at most their largest modulus: of the sum, and of the noise.
            primes = _data_primes(
                math.ceil(2.02 * (reach * scale + math.sqrt(2) * noise)), degree=degree, special_prime=special
            )
            if primes:
                found.append(
                    HeParameters(
                        scheme="ckks",
                        degree=degree,
                        data_primes=primes,
                        special_prime=special,
                        plain_modulus=0,
                        scale=scale,
                        digit_bits=digit_bits,
                        per_slot=2,
                        ciphertexts=ciphertexts,
                    )
                )
    return _shortest(found, digit_bits=digit_bits)


def _shortest(found: list[HeParameters], *, digit_bits: int) -> HeParameters:
    if not found:
        raise PlanError(
            f"no parameters at 128 bits of security carry sums of {digit_bits} bits exactly; lower secure_sum.bits, "
            'or use protocol = "helper"'
        )
    return min(found, key=lambda parameters: (parameters.upload_bytes, parameters.degree))


def _special_primes(degree: int) -> tuple[int, ...]:
    """Without a special prime, and with one."""
    return 0, next(_primes_below(SPECIAL_BITS, degree=degree))


def _data_primes(least: int, *, degree: int, special_prime: int) -> tuple[int, ...]:
    """The shortest chain whose product is at least `least`; empty where the security table has no room.

    SEAL keeps the last of several primes for itself, so without a special prime there is exactly one.
    """
    room = MAX_MODULUS_BITS[degree] - special_prime.bit_length()
    smallest = degree.bit_length() + 2
    for total in range(max(least.bit_length(), smallest), room + 1):
        length = -(-total // MAX_PRIME_BITS)
        if length > 1 and not special_prime:
            return ()
        sizes = [total // length + (index < total % length) for index in range(length)]
        chosen: list[int] = []
        for size in sizes:
            usable = (p for p in _primes_below(size, degree=degree) if p not in chosen and p != special_prime)
            chosen.append(next(usable, 1))
        if 1 not in chosen and math.prod(chosen) >= least:
            return tuple(chosen)
    return ()


def _primes_below(num_bits: int, *, degree: int) -> Iterator[int]:
    """Primes of exactly `num_bits` bits that are 1 modulo 2N, largest first."""
    step = 2 * degree
    for candidate in range((1 << num_bits) - step + 1, 1 << (num_bits - 1), -step):
        if is_prime(candidate):
            yield candidate


def prime_above(least: int, *, degree: int) -> int:
    """The smallest prime above `least` that is 1 modulo 2N."""
    step = 2 * degree
    candidate = least // step * step + 1
    while candidate <= least or not is_prime(candidate):
        candidate += step
    return candidate


def is_prime(number: int) -> bool:
    """Miller–Rabin with bases that decide every number below 2^64."""
    if number < 2 or any(number % witness == 0 for witness in _WITNESSES):
        return number in _WITNESSES
    odd = number - 1
    shift = (odd & -odd).bit_length() - 1
    odd >>= shift
    for witness in _WITNESSES:
        power = pow(witness, odd, number)
        if power in (1, number - 1):
            continue
        for _ in range(shift - 1):
            power = power * power % number
            if power == number - 1:
                break
        else:
            return False
    return True
