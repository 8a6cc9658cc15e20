"""The table of docs/privacy.md: how far each method's per-example gradients are from the oracle, on each architecture.

    python benchmarks/per_example_gradients.py [--write]

Tiny randomly initialised models with a mean-pooled head, fp32, parameters moved away from their start so that no
factor's gradient is hidden by a zero; the largest deviation over parameters and examples, relative to the norm of the
example's whole gradient, rounded up to a power of ten, 1e-6 at least. `--write` puts the table into the document.
"""

import argparse
import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from transformers import (
    BertConfig,
    BertModel,
    DistilBertConfig,
    DistilBertModel,
    PreTrainedModel,
    RobertaConfig,
    RobertaModel,
    T5Config,
    T5EncoderModel,
)

from dp.oracle import largest_deviation, per_example_gradients
from dp.persample import PerExampleModule
from dp.strategies import ByHooks, PerExampleLoss
from fedpeft_secure import methods
from fedpeft_secure.adapters import Role
from fedpeft_secure.clients.batches import Batch, split_batch
from fedpeft_secure.config import PeftTable
from fedpeft_secure.errors import ModelError
from fedpeft_secure.models import MeanPooledClassifier
from fedpeft_secure.persample import per_example, public_batch

DOCUMENT = Path(__file__).parents[1] / "docs" / "privacy.md"
BEGIN, END = "<!-- per-example gradients: begin -->", "<!-- per-example gradients: end -->"

SIZE = {"num_hidden_layers": 2, "num_attention_heads": 2, "hidden_size": 16, "intermediate_size": 24}
ROUNDING = 1e-6
"""Of fp32: smaller deviations are luck."""

VOCABULARY, LENGTH, PHYSICAL_BATCH, AWAY = 50, 12, 32, 0.2

METHODS = {
    "LoRA": PeftTable(method="lora", rank=4),
    "rsLoRA": PeftTable(method="rslora", rank=4),
    "FFA-LoRA, FedSVD (A frozen)": PeftTable(method="lora", rank=4),
    "DoRA": PeftTable(method="dora", rank=4),
    "VeRA": PeftTable(method="vera", rank=4),
    "AdaLoRA": PeftTable(method="adalora", rank=4),
    "(IA)³": PeftTable(method="ia3"),
    "bottleneck adapters": PeftTable(method="adapter", bottleneck=3),
    "BitFit": PeftTable(method="bitfit"),
    "prefix tuning": PeftTable(method="prefix", virtual_tokens=3),
    "prompt tuning": PeftTable(method="prompt", virtual_tokens=3),
    "full fine-tuning": PeftTable(method="full"),
    "head only": PeftTable(method="head"),
}
WITHOUT_A = "FFA-LoRA, FedSVD (A frozen)"


def bert() -> PreTrainedModel:
    return BertModel(BertConfig(vocab_size=VOCABULARY, max_position_embeddings=40, **SIZE), add_pooling_layer=False)


def roberta() -> PreTrainedModel:
    config = RobertaConfig(vocab_size=VOCABULARY, max_position_embeddings=40, **SIZE)
    return RobertaModel(config, add_pooling_layer=False)


def distilbert() -> PreTrainedModel:
    shape = {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 24}
    return DistilBertModel(DistilBertConfig(vocab_size=VOCABULARY, max_position_embeddings=40, **shape))


def t5() -> PreTrainedModel:
    shape = {"d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 2, "num_heads": 2}
    return T5EncoderModel(T5Config(vocab_size=VOCABULARY, decoder_start_token_id=0, **shape))


MODELS = {"BERT": bert, "RoBERTa": roberta, "DistilBERT": distilbert, "T5": t5}


@dataclass(frozen=True, kw_only=True)
class Adapted:
    model: nn.Module
    batch: Batch
    loss: PerExampleLoss[Batch]

    def wrapped(self) -> PerExampleModule:
        return per_example(self.model, self.loss, max_length=LENGTH, physical_batch=PHYSICAL_BATCH)


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One entry of the table: a strategy and a deviation, or why there is none."""

    strategy: str = ""
    deviation: float = 0.0
    missing: str = ""

    def __str__(self) -> str:
        if self.missing:
            return f"— ({self.missing})"
        return f"≤ 1e{math.ceil(math.log10(max(self.deviation, ROUNDING)))}, {self.strategy}"


def losses(model: nn.Module, batch: Batch) -> torch.Tensor:
    logits = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask).logits
    return nn.functional.cross_entropy(logits.float(), batch.labels, reduction="none")


def adapted(method: str, architecture: str) -> Adapted:
    torch.manual_seed(0)
    base = MeanPooledClassifier(MODELS[architecture](), num_labels=2)
    model, spec = methods.wrap(base, METHODS[method], public_name="benchmark", seed=0)
    if method == WITHOUT_A:
        methods.train_only(model, spec.only((Role.LORA_B, Role.HEAD)))
    return Adapted(model=model.eval(), batch=public_batch(model, length=LENGTH), loss=losses)


def measure(method: str, architecture: str) -> Cell:
    try:
        case = adapted(method, architecture)
    except ModelError:
        return Cell(missing="no biases")
    module = case.wrapped()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in module.trainable().values():
            parameter.add_(AWAY * torch.randn(parameter.shape, generator=generator))
    truth = per_example_gradients(case.model, case.batch, losses, split=split_batch)
    if isinstance(module.strategy, ByHooks):
        _, found = module.strategy.gradients(case.model, case.batch, losses)
        rows = {name: gradients.rows() for name, gradients in found.items()}
        return Cell(strategy=module.strategy.name, deviation=largest_deviation(rows, truth))
    singly = module.strategy.clip(case.model, case.batch, losses, clip_norm=1e30)
    whole = {name: value[None] for name, value in singly.sums.items()}
    return Cell(
        strategy=module.strategy.name,
        deviation=largest_deviation(whole, {name: rows.sum(dim=0, keepdim=True) for name, rows in truth.items()}),
    )


def table(cells: dict[tuple[str, str], Cell]) -> str:
    lines = ["| | " + " | ".join(MODELS) + " |", "|---" * (len(MODELS) + 1) + "|"]
    for method in METHODS:
        lines.append(f"| {method} | " + " | ".join(str(cells[method, model]) for model in MODELS) + " |")
    return "\n".join(lines)


def documented() -> str:
    text = DOCUMENT.read_text(encoding="utf-8")
    return text.split(BEGIN)[1].split(END)[0].strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="put the table into docs/privacy.md")
    options = parser.parse_args()
    found = table({(method, model): measure(method, model) for method in METHODS for model in MODELS})
    print(found)
    if options.write:
        before, rest = DOCUMENT.read_text(encoding="utf-8").split(BEGIN)
        DOCUMENT.write_text(f"{before}{BEGIN}\n{found}\n{END}{rest.split(END)[1]}", encoding="utf-8")


if __name__ == "__main__":
    main()
