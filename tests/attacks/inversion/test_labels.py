"""Labels from the bias of tiny models, through real local steps."""

import numpy as np
import pytest

from attacks import NotApplicableError
from attacks.inversion.labels import LabelInference
from attacks.suite.case import Case
from attacks.suite.own_texts import as_case, warm_up
from fedpeft_secure.data import LabelledTexts
from fedpeft_secure.result import ViewName
from tests.fedpeft_secure.conftest import MakeFederation, make_federation, tiny_bert, tiny_config

__all__ = ["make_federation", "tiny_bert", "tiny_config"]

EVEN = np.full(2, 0.5)


@pytest.fixture
def case(make_federation: MakeFederation) -> Case:
    federation = make_federation({"privacy.epsilon": "inf"})
    return as_case(federation, warm_up(federation))


def batch(case: Case, labels: list[int], seed: int) -> LabelledTexts:
    own = case.federation.data.clients[0]
    chosen = np.random.default_rng(seed).choice(len(own), len(labels))
    return LabelledTexts(texts=tuple(own.texts[i] for i in chosen), labels=np.array(labels))


def guess(case: Case, labels: list[int], seed: int, view: ViewName = "individual") -> np.ndarray:
    seen = case.replay(view, {"client-1": batch(case, labels, seed)}, client="client-1", name=f"label {seed}")
    attack = LabelInference(examples=len(labels), mean_prediction=EVEN)
    return np.asarray(attack.run(seen, rng=np.random.default_rng(0)).counts)


def test_the_sign_gives_the_label_of_a_single_example(case: Case) -> None:
    for seed in range(10):
        assert guess(case, [seed % 2], seed).argmax() == seed % 2


def test_counts_of_a_batch_are_near(case: Case) -> None:
    """Within two of eight: the mean prediction stands for those of the batch, and clipping shrinks the gradient."""
    for seed, ones in enumerate((1, 4, 7)):
        assert guess(case, [1] * ones + [0] * (8 - ones), seed)[1] == pytest.approx(ones, abs=2.0)


def test_noise_hides_the_label(case: Case) -> None:
    right = sum(guess(case, [seed % 2], seed, "individual-dp").argmax() == seed % 2 for seed in range(16))
    assert right <= 14  # 16 of 16 without noise


def test_counts_add_up_and_other_heads_are_refused(case: Case) -> None:
    assert guess(case, [1, 1, 0], 3).sum() == pytest.approx(3)
    seen = case.replay("individual", {"client-1": batch(case, [1], 0)}, client="client-1", name="x")
    with pytest.raises(NotApplicableError):
        LabelInference(examples=1, mean_prediction=np.full(5, 0.2)).run(seen, rng=np.random.default_rng(0))
