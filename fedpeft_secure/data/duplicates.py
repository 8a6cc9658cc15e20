"""Finds texts that say the same in nearly the same words, so that no copy stands on both sides of a split."""

import itertools
import re
import unicodedata

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import connected_components

_COMMON = 200
"""A bigram that more texts than this have among their rarest proposes no pairs: it bounds the work."""

_BLOCK = 2048

_WORD = re.compile(r"\w+")


def normalise(text: str) -> str:
    """The words of `text` in lower case, without punctuation and with single spaces."""
    return " ".join(_WORD.findall(unicodedata.normalize("NFKC", text).casefold()))


def duplicate_clusters(texts: tuple[str, ...], *, similarity: float = 0.6) -> NDArray[np.int64]:
    """Numbers clusters of near-duplicates: equal numbers for texts linked by a chain of near-duplicate pairs.

    Two texts are near-duplicates if they have the same words, or if the Jaccard similarity of their sets of word
    bigrams is at least `similarity`: at 0.6, texts of seven words or more with one inner word changed.

    Guarantee: finds every pair, except those whose rarest shared bigrams are each among the rarest of more than
        `_COMMON` texts.
    Does not cover: paraphrases.
    Args:
        texts: n texts.
        similarity: in (0, 1].
    Returns: (n,) cluster numbers.
    Source: Lee et al. 2022, section 4 (near-duplicates); Chaudhuri et al. 2006 (prefix filter).
    """
    keys = [normalise(text) or text for text in texts]
    _, unique = np.unique(np.array(keys, dtype=object), return_inverse=True)
    representatives = np.full(unique.max() + 1, -1, dtype=np.int64)
    representatives[unique] = np.arange(len(texts))
    bigrams = _bigram_matrix([keys[index] for index in representatives])
    left, right = _similar_pairs(bigrams, similarity=similarity)
    size = len(representatives)
    links = sparse.coo_array((np.ones(len(left), dtype=bool), (left, right)), shape=(size, size))
    _, clusters = connected_components(links, directed=False)
    numbers: NDArray[np.int64] = clusters[unique].astype(np.int64)
    return numbers


def _bigram_matrix(keys: list[str]) -> sparse.csr_array:
    """(n, bigrams) 0/1 matrix, columns from the rarest bigram to the most frequent."""
    columns: dict[tuple[str, str], int] = {}
    indices: list[int] = []
    ends = [0]
    for key in keys:
        words = ["", *key.split(), ""]
        found = {columns.setdefault(pair, len(columns)) for pair in itertools.pairwise(words)}
        indices.extend(found)
        ends.append(len(indices))
    raw = np.array(indices, dtype=np.int64)
    frequency = np.bincount(raw, minlength=len(columns))
    rank = np.empty(len(columns), dtype=np.int64)
    rank[np.argsort(frequency, kind="stable")] = np.arange(len(columns))
    matrix = sparse.csr_array((np.ones(len(raw), dtype=np.int32), rank[raw], ends), shape=(len(keys), len(columns)))
    matrix.sort_indices()
    return matrix


def _similar_pairs(bigrams: sparse.csr_array, *, similarity: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """All pairs i < j whose similarity reaches the bound: two such sets share one of their rarest elements."""
    sizes = np.diff(bigrams.indptr)
    prefix_lengths = sizes - np.ceil(similarity * sizes - 1e-9).astype(np.int64) + 1
    position = np.arange(bigrams.nnz) - np.repeat(bigrams.indptr[:-1], sizes)
    kept = position < np.repeat(prefix_lengths, sizes)
    rows = np.repeat(np.arange(bigrams.shape[0]), sizes)[kept]
    prefix = sparse.csr_array((np.ones(len(rows), dtype=np.int32), (rows, bigrams.indices[kept])), shape=bigrams.shape)
    common = np.asarray(prefix.sum(axis=0)).ravel() > _COMMON
    prefix = prefix[:, np.flatnonzero(~common)]
    found = [
        _similar_in_block(bigrams, prefix, first=first, similarity=similarity)
        for first in range(0, bigrams.shape[0], _BLOCK)
    ]
    return np.concatenate([left for left, _ in found]), np.concatenate([right for _, right in found])


def _similar_in_block(
    bigrams: sparse.csr_array, prefix: sparse.csr_array, *, first: int, similarity: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The similar pairs whose lower index is among the `_BLOCK` rows from `first` on: blocks bound the memory."""
    candidates = (prefix[first : first + _BLOCK] @ prefix.T).tocoo()
    left, right = candidates.row.astype(np.int64) + first, candidates.col.astype(np.int64)
    sizes = np.diff(bigrams.indptr)
    smaller, larger = np.minimum(sizes[left], sizes[right]), np.maximum(sizes[left], sizes[right])
    possible = (left < right) & (smaller >= similarity * larger - 1e-9)
    left, right = left[possible], right[possible]
    shared = np.asarray(bigrams[left].multiply(bigrams[right]).sum(axis=1)).ravel()
    similar = shared >= similarity * (sizes[left] + sizes[right] - shared) - 1e-9
    return left[similar], right[similar]
