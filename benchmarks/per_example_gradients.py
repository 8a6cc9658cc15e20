"""The table of docs/privacy.md: how far each method's per-example gradients are from the oracle, on each architecture.

    python benchmarks/per_example_gradients.py [--write]

Tiny randomly initialised models with a mean-pooled head or answering in words, fp32, parameters moved away from their
start so that no
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
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    RobertaConfig,
    RobertaModel,
    T5Config,
    T5EncoderModel,
    T5ForConditionalGeneration,
)

from dp.oracle import largest_deviation, per_example_gradients
from dp.persample import PerExampleModule
from dp.strategies import ByHooks, PerExampleLoss
from fedpeft_secure import methods
from fedpeft_secure.adapters import Role
from fedpeft_secure.clients.batches import Batch, split_batch
from fedpeft_secure.config import PeftTable
from fedpeft_secure.errors import ModelError
from fedpeft_secure.label_words import CausalAnswers, LabelWords, Seq2SeqAnswers, answers_of
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
    "LoRA-XS, Fed-SB (cores)": PeftTable(method="lora_xs", rank=4),
    "AdaLoRA": PeftTable(method="adalora", rank=4),
    "(IA)³": PeftTable(method="ia3"),
    "bottleneck adapters": PeftTable(method="adapter", bottleneck=3),
    "BitFit": PeftTable(method="bitfit"),
    "prefix tuning": PeftTable(method="prefix", virtual_tokens=3),
    "prompt tuning": PeftTable(method="prompt", virtual_tokens=3),
    "full fine-tuning": PeftTable(method="full"),
    "head only": PeftTable(method="head"),
}
MISSING = {"BitFit": "no biases", "prefix tuning": "not known", "head only": "no head"}
"""Why a method is refused where it is."""

WITHOUT_A = "FFA-LoRA, FedSVD (A frozen)"


def with_head(encoder: PreTrainedModel) -> nn.Module:
    return MeanPooledClassifier(encoder, num_labels=2)


def bert() -> nn.Module:
    config = BertConfig(vocab_size=VOCABULARY, max_position_embeddings=40, **SIZE)
    return with_head(BertModel(config, add_pooling_layer=False))


def roberta() -> nn.Module:
    config = RobertaConfig(vocab_size=VOCABULARY, max_position_embeddings=40, **SIZE)
    return with_head(RobertaModel(config, add_pooling_layer=False))


def distilbert() -> nn.Module:
    shape = {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 24}
    return with_head(DistilBertModel(DistilBertConfig(vocab_size=VOCABULARY, max_position_embeddings=40, **shape)))


T5_SHAPE = {"d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 2, "num_heads": 2, "decoder_start_token_id": 0}


def t5() -> nn.Module:
    return with_head(T5EncoderModel(T5Config(vocab_size=VOCABULARY, **T5_SHAPE)))


def t5_in_words() -> nn.Module:
    words = LabelWords(answers=((5, 6, 1), (7, 1)))
    return Seq2SeqAnswers(T5ForConditionalGeneration(T5Config(vocab_size=VOCABULARY, **T5_SHAPE)), words)


def llama() -> nn.Module:
    config = LlamaConfig(vocab_size=VOCABULARY, max_position_embeddings=40, num_key_value_heads=1, **SIZE)
    return CausalAnswers(LlamaForCausalLM(config), LabelWords(answers=((5, 6, 2), (7, 2)), cue=(8, 9)))


IN_WORDS = {"T5, in words": t5_in_words, "Llama": llama}
MODELS = {"BERT": bert, "RoBERTa": roberta, "DistilBERT": distilbert, "T5": t5, **IN_WORDS}


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
    if answers_of(model) == "words":
        asked = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask, labels=batch.labels)
        return -asked.logits[:, 0].float()
    logits = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask).logits
    return nn.functional.cross_entropy(logits.float(), batch.labels, reduction="none")


def adapted(method: str, architecture: str) -> Adapted:
    torch.manual_seed(0)
    model, spec = methods.wrap(MODELS[architecture](), METHODS[method], public_name="benchmark", seed=0)
    if method == WITHOUT_A:
        methods.train_only(model, spec.only((Role.LORA_B, Role.HEAD)))
    return Adapted(model=model.eval(), batch=public_batch(model, length=LENGTH), loss=losses)


def measure(method: str, architecture: str) -> Cell:
    try:
        case = adapted(method, architecture)
    except ModelError:
        return Cell(missing=MISSING[method])
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
