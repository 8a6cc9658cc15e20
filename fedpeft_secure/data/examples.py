"""Labelled texts, and what every party of a simulated federation holds of them."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LabelledTexts:
    """Texts with one class each; the repr shows no text.

    Args:
        texts: n texts.
        labels: (n,) class indices; copied to int64 and made read-only.
        groups: n values of the partition column, or None where the data have none.
        budget_groups: n names of groups of privacy budgets, or None where the data have none.
    """

    texts: tuple[str, ...] = field(repr=False)
    labels: NDArray[np.int64] = field(repr=False)
    groups: tuple[str, ...] | None = field(default=None, repr=False)
    budget_groups: tuple[str, ...] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        labels = np.array(self.labels, dtype=np.int64)
        if labels.shape != (len(self.texts),):
            raise ValueError(f"labels must have shape ({len(self.texts)},), one for each text; got {labels.shape}")
        for name, values in (("groups", self.groups), ("budget_groups", self.budget_groups)):
            if values is not None and len(values) != len(self.texts):
                raise ValueError(f"{name} must have {len(self.texts)} entries, one for each text; got {len(values)}")
        labels.flags.writeable = False
        object.__setattr__(self, "labels", labels)

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, indices: Sequence[int] | NDArray[np.int64]) -> "LabelledTexts":
        """The examples at `indices`, in that order."""
        chosen = np.asarray(indices, dtype=np.int64)
        return LabelledTexts(
            texts=tuple(self.texts[index] for index in chosen),
            labels=self.labels[chosen],
            groups=None if self.groups is None else tuple(self.groups[index] for index in chosen),
            budget_groups=None if self.budget_groups is None else tuple(self.budget_groups[index] for index in chosen),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class PlantedSecret:
    """A made-up secret that the generator appended to one training text of a client.

    Args:
        row: index of the text among the client's examples.
        sentence: the whole planted sentence, which the text ends with.
        code: the random digits in it, uniform over all codes of that length.
    """

    row: int
    sentence: str = field(repr=False)
    code: str = field(repr=False)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class FederatedData:
    """A data set, dealt out: private parts for the clients, two public parts that no client sees.

    Args:
        clients: the training examples of client-1, client-2, …; never empty.
        validation: public; every choice is made on it.
        test: public; read once, at the end.
        classes: the name of each class index.
        description: one sentence for reports.
        public_text: True where the texts are built in, so that reports may show what an attack recovered.
        secrets: what was planted at each client; empty tuples for real data.
    """

    clients: tuple[LabelledTexts, ...]
    validation: LabelledTexts
    test: LabelledTexts
    classes: tuple[str, ...]
    description: str
    public_text: bool
    secrets: tuple[tuple[PlantedSecret, ...], ...]


def fingerprint(texts: LabelledTexts) -> bytes:
    """A 32-byte hash of a client's examples, by which its ledger notices data that changed under a running budget.

    Guarantee: any change of a text, a label or the number of examples changes the hash; their order does not.
    Does not cover: secrecy. Who can guess the examples can confirm the guess, so the hash stays with the client.
    """
    digests = sorted(
        hashlib.sha256(label.to_bytes(8, "big", signed=True) + text.encode("utf-8", "surrogatepass")).digest()
        for text, label in zip(texts.texts, texts.labels.tolist(), strict=True)
    )
    return hashlib.sha256(b"fedpeft-secure/data/fingerprint/v1\0" + b"".join(digests)).digest()
