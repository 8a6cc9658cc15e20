"""The search for whole batches in the made-up model of `test_explaining`."""

from dataclasses import replace

import numpy as np
import pytest

from attacks.inversion.batches import BatchSearch
from attacks.inversion.explaining import Batch
from attacks.inversion.hidden import Sentence
from tests.attacks.inversion.test_explaining import ONE, OTHER, STDDEV, explainer

LONG = (1, 16, 13, 17, 18, 2)


def search(*batch: Sentence, stddev: float = STDDEV, seed: int = 0) -> BatchSearch:
    """Knows the words and how long texts may be, and nothing of their places."""
    words = tuple(sorted({token for one in batch for token in one[1:-1]}))
    return BatchSearch(
        explainer=explainer(*batch, stddev=stddev, seed=seed),
        words=words,
        log_ratio=np.random.default_rng(seed).normal(size=(24, 12)),
        longest=max(map(len, batch)) - 2,
        first=1,
        last=2,
    )


def found(own: BatchSearch) -> Batch:
    return own.run(rng=np.random.default_rng(0))


@pytest.mark.parametrize("batch", [(OTHER,), (ONE, OTHER), (ONE, OTHER, LONG)])
def test_batches_come_back_whole(batch: Batch) -> None:
    assert set(found(search(*batch))) == set(batch)


def test_a_batch_that_is_not_explained_is_not_claimed() -> None:
    """One word is missing among those that are known: the best batch leaves more than noise."""
    assert found(replace(search(OTHER), words=(13,))) == ()


def test_a_batch_that_noise_explains_as_well_is_not_claimed() -> None:
    assert found(search(ONE, OTHER, stddev=50.0)) == ()


@pytest.mark.parametrize(
    "batch", [(ONE, (1, 13, 15, 2)), (ONE, (1, 14, 13, 2)), (ONE, OTHER, (1, 13, 2)), (ONE, (1, 13, 14, 14, 2))]
)
def test_only_the_truth_is_settled(batch: Batch) -> None:
    own = search(ONE, OTHER)
    assert own.settled((ONE, OTHER))
    assert not own.settled(batch)
