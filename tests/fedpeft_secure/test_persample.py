"""How a run chooses what its gradients are clipped by, and that its log says so."""

import dataclasses

import pytest
import torch
from torch import nn

import dp
from fedpeft_secure.clients.backbone import load_backbone
from fedpeft_secure.events import Notice
from fedpeft_secure.persample import per_example, public_batch
from fedpeft_secure.server.federation import build_federation


@pytest.fixture
def backbone(tiny_config):
    return load_backbone(tiny_config(), num_labels=2)[0]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_trial_is_in_fp32_whatever_the_run_computes_in(tiny_config, precision):
    loaded, _ = load_backbone(tiny_config({"training.precision": precision}), num_labels=2)
    assert loaded.precision == precision
    assert loaded.per_example.strategy.name == "hooks"
    assert float(loaded.per_example.reason.split()[0]) < 1e-4


def test_the_public_batch_is_nobodys_text(backbone):
    one, two = (public_batch(backbone.model, length=20) for _ in range(2))
    assert torch.equal(one.input_ids, two.input_ids)
    assert one.attention_mask.sum(dim=1).tolist() == [20, 10, 3]
    assert (one.input_ids[one.attention_mask == 0] == backbone.model.config.pad_token_id).all()


class Scaled(nn.Module):
    """A model with a raw parameter, for which there is no rule."""

    def __init__(self, model):
        super().__init__()
        self.model, self.config = model, model.config
        self.scale = nn.Parameter(torch.ones(2))

    def forward(self, **inputs):
        output = self.model(**inputs)
        return dataclasses.replace(output, logits=output.logits * self.scale)


def test_without_a_rule_examples_go_singly(backbone):
    chosen = per_example(Scaled(backbone.model), backbone.losses, max_length=8, physical_batch=4)
    assert chosen.strategy.name == "microbatches"
    assert "Scaled" in chosen.description


@pytest.mark.parametrize("epsilon", [8.0, "inf"])
def test_the_log_says_how_where_it_matters(tiny_config, tmp_path, epsilon):
    heard = []
    path = tmp_path / "ledger.sqlite"
    with dp.Ledger.open(path) as ledger:
        config = tiny_config({"privacy.epsilon": epsilon})
        build_federation(config, run="run", ledger=ledger, ledger_path=path, listen=heard.append)
    notices = [event.text for event in heard if isinstance(event, Notice)]
    assert any(text.startswith("gradients of single examples: by hooks") for text in notices) == (epsilon == 8.0)


def test_large_tables_are_trained_singly_whatever_the_hooks_could_do(tiny_config, tiny_roberta, monkeypatch):
    from fedpeft_secure import persample

    config = tiny_config({"model.name": str(tiny_roberta), "peft.method": "full"})
    loaded, _ = load_backbone(config, num_labels=2)
    assert loaded.per_example.strategy.name == "hooks"
    values = 600 * 32 + 66 * 32 + 32  # words, positions, the only type
    assert persample.embedding_row_bytes(loaded.model, 8) == 4 * 8 * values
    monkeypatch.setattr(persample, "LARGEST_ROWS_BYTES", 4 * 8 * values - 1)
    again, _ = load_backbone(config, num_labels=2)
    assert again.per_example.strategy.name == "microbatches"
    assert "rows for its embeddings would take" in again.per_example.reason
