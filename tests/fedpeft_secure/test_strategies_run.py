"""Whole runs with strategies that change more than factors: what is saved is what was measured."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import PeftModel

import fedpeft_secure
from fedpeft_secure import Config, models
from fedpeft_secure.data import load
from fedpeft_secure.seeds import Seed

MakeConfig = Callable[..., Config]


@pytest.mark.parametrize("strategy", ["fedex", "flora"])
def test_a_changed_base_is_saved_beside_the_adapter(strategy: str, tiny_config: MakeConfig, tmp_path: Path) -> None:
    """`models.load` and PEFT on `load_base` both predict what the run reported."""
    config = tiny_config(
        {
            "aggregation.strategy": strategy,
            "privacy.epsilon": "inf",
            "secure_sum.protocol": "plain",
            "training.local_steps": 3,
            "training.learning_rate": 5.0,
            "training.server_optimizer": "sgd",
            "training.server_learning_rate": 1.0,
            "privacy.clip_norm": 5.0,
            "attacks.run": [],
        }
    )
    run = tmp_path / "run"
    result = fedpeft_secure.run(config, out=run)
    assert (run / "adapter" / "base_delta.safetensors").is_file()
    test = load(config.data, clients=config.clients.count, seed=Seed(config.seed)).test
    tokens = models.load_tokenizer(config.model)(
        list(test.texts), truncation=True, max_length=32, padding=True, return_tensors="pt"
    )
    fed = {name: tokens[name] for name in ("input_ids", "attention_mask")}
    by_peft = PeftModel.from_pretrained(models.load_base(run), str(run / "adapter")).eval()
    with torch.no_grad():
        logits = [model(**fed).logits for model in (models.load(run), by_peft)]
    assert torch.equal(*logits)
    loss = torch.nn.functional.cross_entropy(logits[0], torch.tensor(test.labels)).item()
    assert loss == pytest.approx(result.utility.loss, abs=1e-5)
    assert np.abs(result.utility.loss - np.log(2)) > 1e-4  # it has learnt something
    (run / "adapter" / "base_delta.safetensors").unlink()
    with torch.no_grad():
        without = models.load(run)(**fed).logits
    assert not torch.allclose(without, logits[0], atol=1e-6)
