"""What stands around a text and is no secret: special tokens, and a decoder's cue and answers."""

from dataclasses import dataclass
from itertools import chain
from typing import Protocol

from attacks.inversion.hidden import Sentence


class Marks(Protocol):
    """What is known of a text before it is seen."""

    @property
    def tokens(self) -> frozenset[int]:
        """Special tokens: they never count as recovered."""
        ...

    @property
    def public(self) -> frozenset[int]:
        """All tokens that everybody knows to be there: that they were found says nothing."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class SpecialTokens:
    """Tokens that frame every text and are no secret: (first, last, padding)."""

    first: int
    last: int
    padding: int

    @property
    def tokens(self) -> frozenset[int]:
        """See `Marks`."""
        return frozenset((self.first, self.last, self.padding))

    @property
    def public(self) -> frozenset[int]:
        """See `Marks`."""
        return self.tokens


@dataclass(frozen=True, kw_only=True, slots=True)
class Frame:
    """The surroundings of every text, as token ids.

    Args:
        first, last: what the tokenizer puts before and behind a text; either may be empty.
        padding: fills up shorter texts.
        tails: what follows the text itself, one of these: for an encoder `last`, for a decoder `last`, the cue and the
            words of a class, as far as the model's layers pass gradients to them.
    """

    first: Sentence
    last: Sentence
    padding: int
    tails: tuple[Sentence, ...]

    @property
    def tokens(self) -> frozenset[int]:
        """See `Marks`."""
        return frozenset((*self.first, *self.last, self.padding))

    @property
    def public(self) -> frozenset[int]:
        """See `Marks`."""
        return self.tokens.union(chain.from_iterable(self.tails))
