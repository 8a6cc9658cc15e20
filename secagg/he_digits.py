"""A contribution's residues as small digits whose sums over the cohort cannot overflow, and those sums as residues."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from secagg.codec import Layout
from secagg.errors import RefusedError
from secagg.packing import Residues, word_type
from secagg.plan import SumPlan

Digits = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, slots=True)
class DigitCode:
    """How residues modulo 2^m become digits 0…span, and sums of digits become residues again.

    A value is shifted by `offset` first, so that honest ones are 0…span; wider segments (a weight) are cut into limbs.
    Args: layout: the round's. clients: cohort. offset, span: of a value. limb_bits: of a limb.
    """

    layout: Layout
    clients: int
    offset: int
    span: int
    limb_bits: int

    @classmethod
    def of(cls, plan: SumPlan) -> "DigitCode":
        """The code of a plan: as narrow as its codec allows, or as wide as its modulus where sums may wrap."""
        modulus, clients, reach = 1 << plan.layout.segments[0].num_bits, len(plan.clients), 2 * plan.codec.largest
        offset, span = (plan.codec.largest, reach) if clients * reach < modulus else (0, modulus - 1)
        digit_bits = (clients * span).bit_length()
        return cls(
            layout=plan.layout,
            clients=clients,
            offset=offset,
            span=span,
            limb_bits=digit_bits - clients.bit_length(),
        )

    @property
    def digit_bits(self) -> int:
        """Bits of a sum of digits over the whole cohort."""
        return (self.clients * self.span).bit_length()

    @property
    def largest(self) -> int:
        """The largest digit of one client."""
        return max(self.span, (1 << self.limb_bits) - 1)

    @property
    def count(self) -> int:
        """Digits of a contribution."""
        return self.layout.segments[0].length + sum(
            self._limbs(s.num_bits) * s.length for s in self.layout.segments[1:]
        )

    def encode(self, residues: tuple[Residues, ...]) -> Digits:
        """Digits of one contribution, shape (count,)."""
        values, modulus = residues[0].astype(np.int64), 1 << self.layout.segments[0].num_bits
        digits = [(values + self.offset) & (modulus - 1)]
        for segment, array in zip(self.layout.segments[1:], residues[1:], strict=True):
            for limb in range(self._limbs(segment.num_bits)):
                digits.append((array.astype(np.int64) >> limb * self.limb_bits) & ((1 << self.limb_bits) - 1))
        return np.concatenate(digits)

    def decode(self, sums: Digits, *, contributors: int) -> tuple[Residues, ...]:
        """Residues of the sum over `contributors`, from sums of their digits.

        Raises: RefusedError for sums that no honest contributors reach; whatever was decrypted then stays here.
        """
        length = self.layout.segments[0].length
        bounds = np.full(len(sums), ((1 << self.limb_bits) - 1) * contributors, dtype=np.int64)
        bounds[:length] = self.span * contributors
        if (sums < 0).any() or (sums > bounds).any():
            raise RefusedError(f"what was decrypted is not a sum of {contributors} contributions; nothing is released")
        arrays, position = [sums[:length] - self.offset * contributors], length
        for segment in self.layout.segments[1:]:
            total = np.zeros(segment.length, dtype=np.int64)
            for limb in range(self._limbs(segment.num_bits)):
                total += sums[position : position + segment.length] << limb * self.limb_bits
                position += segment.length
            arrays.append(total)
        return tuple(
            (array & segment.modulus_mask).astype(word_type(segment.num_bits))
            for segment, array in zip(self.layout.segments, arrays, strict=True)
        )

    def _limbs(self, num_bits: int) -> int:
        return -(-num_bits // self.limb_bits)
