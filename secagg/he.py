"""`BfvSum`, `CkksSum`: clients encrypt under the key holder's round key, the server adds, the key holder decrypts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from secagg import he_seal
from secagg.codec import Encoded
from secagg.crypto import Entropy
from secagg.errors import RefusedError
from secagg.he_digits import DigitCode
from secagg.he_parameters import HeParameters, bfv_parameters, ckks_parameters, polynomial_bytes
from secagg.he_wire import Polynomials, add_polynomials, pack_polynomials, unpack_polynomials
from secagg.one_message import OneMessageSum
from secagg.packing import Residues
from secagg.plan import SumPlan
from secagg.scheme import Binding, Hidden, Opened, Scheme

NOTHING: Final = b""


@dataclass(frozen=True, kw_only=True, slots=True)
class HeScheme:
    """Additively homomorphic encryption of one plan's digits; CKKS carries them centred, for a shorter modulus.

    Guarantee: exact sums but for a probability of 2^-40 a round; ciphertexts hide under RLWE at 128 bits.
    """

    parameters: HeParameters
    digits: DigitCode

    @property
    def public_bytes(self) -> int:
        """A public key: two polynomials."""
        return 2 * polynomial_bytes(self.parameters.key_primes, degree=self.parameters.degree)

    @property
    def body_bytes(self) -> int:
        """One client's ciphertexts."""
        return self.parameters.upload_bytes

    @property
    def capsule_bytes(self) -> int:
        """Nothing goes to the key holder alone."""
        return 0

    def collected_bytes(self, count: int) -> int:
        """The sum of the ciphertexts, however many there were."""
        del count
        return self.body_bytes

    def draw(self, entropy: Entropy) -> bytes:
        """The seed of a secret key."""
        return entropy(he_seal.SEED_BYTES)

    def public(self, secret: bytes, *, entropy: Entropy) -> bytes:
        """A public key of that secret key."""
        key = he_seal.public_key(self.parameters, secret, randomness=entropy(he_seal.SEED_BYTES))
        return pack_polynomials(key, primes=self.parameters.key_primes)

    def hide(self, contribution: Encoded, *, public: bytes, binding: Binding, entropy: Entropy) -> Hidden:
        """Encrypts; the signature over the ciphertext binds it."""
        del binding
        primes, degree = self.parameters.key_primes, self.parameters.degree
        key = unpack_polynomials(public, count=2, primes=primes, degree=degree)
        digits = self.digits.encode(contribution.residues) - self._centre
        ciphertexts = he_seal.encrypt(self.parameters, key, digits, entropy=entropy)
        return Hidden(body=pack_polynomials(ciphertexts, primes=self.parameters.data_primes), capsule=NOTHING)

    def check(self, body: bytes) -> None:
        """Raises WireError unless every residue lies below its prime."""
        self._polynomials(body)

    def collect(self, uploads: Sequence[Hidden]) -> bytes:
        """The sum of the ciphertexts."""
        total = self._polynomials(uploads[0].body)
        for upload in uploads[1:]:
            add_polynomials(total, self._polynomials(upload.body), primes=self.parameters.data_primes)
        return pack_polynomials(total, primes=self.parameters.data_primes)

    def capsules(self, collected: bytes, *, count: int) -> tuple[bytes, ...]:
        """Empty ones."""
        del collected
        return (NOTHING,) * count

    def open(self, secret: bytes, collected: bytes, *, senders: Sequence[Binding]) -> Opened:
        """Decrypts, rounds, checks the range; opens nobody where no such senders can have that sum."""
        sums = he_seal.decrypt(self.parameters, secret, self._polynomials(collected), count=self.digits.count)
        try:
            residues = self.digits.decode(sums + self._centre * len(senders), contributors=len(senders))
        except RefusedError:
            return Opened(senders=(), residues=self.digits.layout.zeros())
        return Opened(senders=tuple(range(len(senders))), residues=residues)

    def finish(self, uploads: Sequence[Hidden], opened: Opened) -> tuple[Residues, ...]:
        """What the key holder released."""
        del uploads
        return opened.residues

    @property
    def _centre(self) -> np.int64:
        return np.int64(self.digits.largest // 2 if self.parameters.scheme == "ckks" else 0)

    def _polynomials(self, body: bytes) -> Polynomials:
        return unpack_polynomials(
            body,
            count=2 * self.parameters.ciphertexts,
            primes=self.parameters.data_primes,
            degree=self.parameters.degree,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class BfvSum(OneMessageSum):
    """A secure sum under BFV: exact integers, several to a slot.

    Guarantee: the server alone learns nothing from ciphertexts, the key holder the sum over at least min_cohort
        clients, and both together everything.
    Assumes: a server that follows the protocol; at most min_cohort - 2 clients of a sum are corrupt.
    Does not cover: a server that lies. One forged ciphertext decrypts to functions of the round's secret key.
    """

    label = "bfv"
    malicious_server = False

    def scheme(self, plan: SumPlan) -> Scheme:
        """BFV with the shortest parameters for the plan."""
        digits = DigitCode.of(plan)
        parameters = bfv_parameters(count=digits.count, clients=digits.clients, digit_bits=digits.digit_bits)
        return HeScheme(parameters=parameters, digits=digits)


@dataclass(frozen=True, kw_only=True, slots=True)
class CkksSum(OneMessageSum):
    """A secure sum under CKKS: integers in real and imaginary parts, rounded before anything is released.

    Guarantee: as `BfvSum`. Rounding leaves nothing of the approximation error, which would reveal the key (Li,
        Micciancio 2021), but for a probability of 2^-40.
    Assumes: as `BfvSum`.
    Does not cover: a server that lies, as for `BfvSum`.
    """

    label = "ckks"
    malicious_server = False

    def scheme(self, plan: SumPlan) -> Scheme:
        """CKKS with the shortest parameters for the plan."""
        digits = DigitCode.of(plan)
        parameters = ckks_parameters(
            count=digits.count,
            clients=digits.clients,
            largest=(digits.largest + 1) // 2,
            digit_bits=digits.digit_bits,
        )
        return HeScheme(parameters=parameters, digits=digits)


def parameters_for(protocol: str, *, count: int, clients: int, bits: int) -> HeParameters:
    """What "bfv" or "ckks" would use for `count` values of `bits` bits over `clients` clients; raises PlanError."""
    largest = (1 << (bits - 1)) - 1
    digit_bits = (2 * clients * largest).bit_length()
    if protocol == CkksSum.label:
        return ckks_parameters(count=count, clients=clients, largest=largest, digit_bits=digit_bits)
    return bfv_parameters(count=count, clients=clients, digit_bits=digit_bits)
