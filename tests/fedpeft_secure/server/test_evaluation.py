from collections.abc import Callable

import numpy as np
import pytest
import torch

from fedpeft_secure.adapters import AdapterState
from fedpeft_secure.server.evaluation import Predictions, predict
from fedpeft_secure.server.federation import Federation

LOGITS = np.array([[2.0, 0.0, 1.0], [0.0, 3.0, 0.0], [1.0, 0.0, 0.0]], dtype=np.float32)


def test_losses_and_accuracy_are_pytorchs() -> None:
    found = Predictions(logits=LOGITS, labels=np.array([0, 1, 2]))
    expected = torch.nn.functional.cross_entropy(torch.from_numpy(LOGITS), torch.tensor([0, 1, 2]), reduction="none")
    assert np.allclose(found.losses, expected.numpy(), atol=1e-6)
    assert found.loss == pytest.approx(float(expected.mean()), abs=1e-6)
    assert found.accuracy == pytest.approx(2 / 3)


def test_large_scores_do_not_overflow() -> None:
    found = Predictions(logits=np.array([[1e4, -1e4]], dtype=np.float32), labels=np.array([1]))
    assert found.losses.tolist() == [2e4]


def test_predictions_come_in_the_order_of_the_examples(make_federation: Callable[..., Federation]) -> None:
    """Batches are sorted by length; whoever reads the predictions must not notice."""
    federation = make_federation({"privacy.epsilon": "inf"})
    rng = np.random.default_rng(0)
    state = AdapterState(
        {name: value + rng.normal(0, 0.3, value.shape) for name, value in federation.start.values.items()}
    )
    whole = predict(federation.backbone, state, federation.validation)
    assert whole.logits.shape == (len(federation.validation), 2)
    assert whole.labels is federation.validation.labels
    for index in (0, 7, len(federation.validation) - 1):
        alone = federation.tokenise(federation.data.validation.take([index]))
        assert np.allclose(predict(federation.backbone, state, alone).logits[0], whole.logits[index], atol=1e-4)


def test_predicting_leaves_no_gradient(make_federation: Callable[..., Federation]) -> None:
    federation = make_federation({"privacy.epsilon": "inf"})
    predict(federation.backbone, federation.start, federation.validation)
    assert all(parameter.grad is None for parameter in federation.backbone.model.parameters())
