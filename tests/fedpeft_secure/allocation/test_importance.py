import pytest
import torch
from transformers import BertConfig, BertModel

from fedpeft_secure.allocation.importance import SLOT_SHARE, Weights, importance, measured, prior
from fedpeft_secure.allocation.shapes import ModelShape
from fedpeft_secure.config import MeasuredImportance

with torch.device("meta"):
    SHAPE = ModelShape.of(
        BertModel(
            BertConfig(vocab_size=100, num_hidden_layers=4, hidden_size=8, intermediate_size=16, num_attention_heads=2),
            add_pooling_layer=False,
        )
    )
BOTH = ("query", "value")


def found(*weights: tuple[float, ...], targets: tuple[str, ...] = BOTH) -> MeasuredImportance:
    return MeasuredImportance(
        model="bert",
        targets=targets,
        weights=weights,
        signal_to_noise=20.0,
        noise_multiplier=5.0,
        sample_rate=0.15,
        clients=8,
        examples=800.0,
        label_entropy=1.0,
        release="characteristics-1",
    )


def test_by_the_prior_upper_layers_count_for_more() -> None:
    assert prior(SHAPE, BOTH).rows == ((0.25, 0.25), (0.5, 0.5), (0.75, 0.75), (1.0, 1.0))
    assert prior(SHAPE, ("dense", "query")).rows[-1] == (3.0, 1.0), "three linear layers are called dense"
    assert importance(prior(SHAPE, BOTH), layers=2, targets=("value",), rank=1, noise=0.0) == 1.75 * SLOT_SHARE


def test_measured_weights_are_as_large_together_as_the_priors() -> None:
    weights = measured(found((0.1, 0.0), (0.1, 0.2), (0.0, 0.0), (0.2, 0.4)), SHAPE)
    assert weights.total(layers=4, targets=BOTH) == pytest.approx(5.0)
    assert weights.total(layers=1, targets=("value",)) == pytest.approx(2.0)
    assert weights.total(layers=2, targets=("query",)) == pytest.approx(1.0)
    top = measured(found((0.1, 0.1), (0.3, 0.5)), SHAPE)
    assert top.total(layers=2, targets=BOTH) == pytest.approx(3.5), "of the two top layers alone"


def test_targets_are_found_by_name() -> None:
    weights = Weights(targets=("value", "query"), rows=((1.0, 10.0), (100.0, 1000.0)))
    assert weights.total(layers=1, targets=("query",)) == 1000.0
    assert weights.total(layers=2, targets=("query", "value")) == 1111.0
