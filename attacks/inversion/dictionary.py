"""Everything that the first layer of a BERT-like encoder can be given: LayerNorm(word + position + type), as a table.

For any linear map the whole table of vocabulary × positions is reached without building it: centring and the scale γ
are linear, so that only the inverse standard deviation couples a word with its position,

    e(v, p) = (γ∘c(w_v) + γ∘c(p_p)) / s(v, p) + β,    s² = var(w_v) + var(p_p) + 2 cov(w_v, p_p) + ε,

and M e(v, p) costs one product with the words and one with the positions.
Source: the span check over a finite dictionary is DAGER's (Petrov et al. 2024, section 4); the factored table is ours.
"""

from dataclasses import dataclass, field

import numpy as np
from torch import Tensor, nn

from attacks.base import Floats
from attacks.errors import NotApplicableError

WORDS, POSITIONS, TYPES = "word_embeddings", "position_embeddings", "token_type_embeddings"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Dictionary:
    """The candidates (token, position), factored; V words, P positions, n features, float64.

    Args:
        words: γ∘c(w), shape (V, n).
        places: γ∘c(p), shape (P, n).
        shift: β, shape (n,).
        inverse_deviation: 1/s, shape (V, P).
    """

    words: Floats = field(repr=False)
    places: Floats = field(repr=False)
    shift: Floats = field(repr=False)
    inverse_deviation: Floats = field(repr=False)

    @property
    def vocabulary(self) -> int:
        """Number of words."""
        return self.words.shape[0]

    @property
    def positions(self) -> int:
        """Number of positions."""
        return self.places.shape[0]

    @property
    def features(self) -> int:
        """Width of the encoder."""
        return self.words.shape[1]

    @property
    def shape(self) -> tuple[int, int]:
        """(V, P)."""
        return self.vocabulary, self.positions

    def first(self, positions: int) -> "Dictionary":
        """The candidates at the first positions only."""
        return Dictionary(
            words=self.words,
            places=self.places[:positions],
            shift=self.shift,
            inverse_deviation=self.inverse_deviation[:, :positions],
        )

    def vector(self, token: int, position: int) -> Floats:
        """One entry, shape (n,)."""
        centred = self.words[token] + self.places[position]
        return np.asarray(centred * self.inverse_deviation[token, position] + self.shift)

    def energies(self, linear_map: Floats) -> Floats:
        """‖Mᵀ e‖² of every candidate.

        Args:
            linear_map: M, shape (n, k), small k.

        Returns:
            Shape (V, P); position by position, so that memory stays near V·(k + P) numbers.
        """
        words, places, shift = self.words @ linear_map, self.places @ linear_map, self.shift @ linear_map
        result = np.empty_like(self.inverse_deviation)
        for position in range(self.positions):
            image = (words + places[position]) * self.inverse_deviation[:, position, None] + shift
            result[:, position] = np.einsum("vk,vk->v", image, image)
        return result

    def norms(self) -> Floats:
        """‖e‖² of every candidate, shape (V, P)."""
        cross = 2.0 * (self.words @ self.places.T)
        squared = _squares(self.words)[:, None] + _squares(self.places)[None, :] + cross
        along = (self.words @ self.shift)[:, None] + (self.places @ self.shift)[None, :]
        inverse = self.inverse_deviation
        return np.asarray(squared * inverse**2 + 2.0 * along * inverse + self.shift @ self.shift)


def read_dictionary(model: nn.Module, *, positions: int) -> Dictionary:
    """The dictionary of a BERT, RoBERTa or DistilBERT, from its public weights.

    Args:
        model: contains one module of embeddings.
        positions: how many positions from the start of a text.

    Raises:
        NotApplicableError: If the model has no such embeddings: T5 adds no positions before its first layer.
    """
    embeddings = _find_embeddings(model)
    tables = dict(embeddings.named_children())
    words, places = _weights(tables[WORDS]), _weights(tables[POSITIONS])
    offset = _first_position(embeddings)
    places = places[offset : offset + positions]
    if TYPES in tables:
        places = places + _weights(tables[TYPES])[0]
    norm = tables["LayerNorm"]
    if not isinstance(norm, nn.LayerNorm):
        raise NotApplicableError("span inversion reads encoders whose embeddings end in a LayerNorm")
    return _factored(words, places, scale=_array(norm.weight), shift=_array(norm.bias), epsilon=norm.eps)


def _factored(words: Floats, places: Floats, *, scale: Floats, shift: Floats, epsilon: float) -> Dictionary:
    words, places = words - words.mean(axis=1, keepdims=True), places - places.mean(axis=1, keepdims=True)
    covariance = words @ places.T
    variance = (_squares(words)[:, None] + _squares(places)[None, :] + 2.0 * covariance) / words.shape[1]
    return Dictionary(
        words=words * scale,
        places=places * scale,
        shift=shift,
        inverse_deviation=1.0 / np.sqrt(variance + epsilon),
    )


def _find_embeddings(model: nn.Module) -> nn.Module:
    for module in model.modules():
        if {WORDS, POSITIONS, "LayerNorm"} <= {name for name, _ in module.named_children()}:
            return module
    raise NotApplicableError(
        "span inversion needs a model whose first layer sees LayerNorm(word + position): not this one"
    )


def _first_position(embeddings: nn.Module) -> int:
    """RoBERTa counts positions from its padding index plus one, BERT from zero."""
    table = dict(embeddings.named_children())[POSITIONS]
    padding = table.padding_idx if isinstance(table, nn.Embedding) else None
    return 0 if padding is None else padding + 1


def _weights(table: nn.Module) -> Floats:
    if not isinstance(table, nn.Embedding):
        raise NotApplicableError("span inversion needs plain embedding tables")
    return _array(table.weight)


def _array(tensor: Tensor) -> Floats:
    return tensor.detach().cpu().double().numpy()


def _squares(rows: Floats) -> Floats:
    return np.asarray(np.einsum("ij,ij->i", rows, rows))
