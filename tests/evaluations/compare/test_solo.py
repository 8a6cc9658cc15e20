from collections.abc import Callable

import numpy as np
import pytest

from evaluations.compare.solo import centralised_steps, fit
from fedpeft_secure import Config
from fedpeft_secure.clients.backbone import load_backbone
from fedpeft_secure.clients.batches import tokenise
from fedpeft_secure.config import TrainingConfig
from fedpeft_secure.data import load
from fedpeft_secure.models import load_tokenizer
from fedpeft_secure.seeds import Seed
from fedpeft_secure.server.evaluation import predict

MakeConfig = Callable[..., Config]


@pytest.mark.parametrize(("rounds", "steps", "batch", "wanted"), [(4, 5, 8, 40), (1, 1, 8, 2), (3, 1, 5, 4)])
def test_the_centralised_baseline_sees_as_many_examples(rounds: int, steps: int, batch: int, wanted: int) -> None:
    training = TrainingConfig(rounds=rounds, local_steps=steps, nominal_batch=batch)
    assert centralised_steps(training, per_round=8) == wanted
    assert 0 <= wanted * 32 - rounds * steps * batch * 8 < 32


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_it_learns_repeatably_and_leaves_its_start_alone(optimizer: str, tiny_config: MakeConfig) -> None:
    config = tiny_config({"training.optimizer": optimizer, "training.learning_rate": 0.02, "privacy.epsilon": "inf"})
    data = load(config.data, clients=1, seed=Seed(0))
    backbone, start = load_backbone(config, num_labels=2)
    examples = tokenise(data.clients[0], load_tokenizer(config.model), max_length=32)
    before = start.digest()
    one, two = (
        fit(backbone, start, examples, steps=12, batch=16, training=config.training, rng=np.random.default_rng(1))
        for _ in range(2)
    )
    assert one.digest() == two.digest() != before
    assert start.digest() == before
    assert predict(backbone, one, examples).loss < predict(backbone, start, examples).loss - 0.05


def test_a_batch_larger_than_the_data_takes_all_of_them(tiny_config: MakeConfig) -> None:
    config = tiny_config({"privacy.epsilon": "inf"})
    data = load(config.data, clients=5, seed=Seed(0))
    backbone, start = load_backbone(config, num_labels=2)
    examples = tokenise(data.clients[0], load_tokenizer(config.model), max_length=32)
    few = fit(backbone, start, examples, steps=1, batch=10_000, training=config.training, rng=np.random.default_rng(1))
    all_of_them = fit(
        backbone, start, examples, steps=1, batch=len(examples), training=config.training, rng=np.random.default_rng(2)
    )
    for name, value in few.values.items():
        np.testing.assert_allclose(value, all_of_them[name], atol=1e-4)
