"""Ghost clipping against rows for one linear layer: where do Gram matrices pay, and does `dp.ghost.ghost_pays` know?

    python benchmarks/ghost_clipping.py [--batch 32] [--repeats 5] [--threads 1] [--device cpu]

Both compute squared norms and the clipped sum from the same inputs and output gradients, side by side in one run; the
ratio is the median over the pairs. LoRA factors, heads and whole layers of MiniLM, BERT-base and their feed-forwards,
at texts of 1 to 128 tokens. A second table is a whole step of DP-SGD on a pre-trained size, with and without the rule.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from transformers import DistilBertConfig, DistilBertForSequenceClassification

from dp.ghost import ghost_pays
from dp.gradients import Factors, Rows
from dp.rules import EXACT_RULES
from dp.strategies import ByHooks

LAYERS = {
    "LoRA A, MiniLM": (384, 8),
    "LoRA B, BERT": (8, 768),
    "LoRA A r=64, BERT": (768, 64),
    "class head, BERT": (768, 2),
    "query, MiniLM": (384, 384),
    "dense, BERT": (768, 768),
    "feed-forward, MiniLM": (384, 1536),
    "feed-forward, BERT": (768, 3072),
}
TOKENS = (1, 4, 8, 16, 32, 64, 128)


def seconds(action: Callable[[], object], device: str) -> float:
    synchronise(device)
    start = time.perf_counter()
    action()
    synchronise(device)
    return time.perf_counter() - start


def synchronise(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def by_rows(inputs: Tensor, backprops: Tensor, factors: Tensor, kept: Tensor) -> None:
    gradients = Rows(torch.bmm(backprops.transpose(1, 2), inputs))
    gradients.squared_norms()
    gradients.weighted_sum(factors, kept)


def by_ghosts(inputs: Tensor, backprops: Tensor, factors: Tensor, kept: Tensor) -> None:
    gradients = Factors(inputs=inputs, backprops=backprops)
    gradients.squared_norms()
    gradients.weighted_sum(factors, kept)


def ratio(shape: tuple[int, int], tokens: int, *, batch: int, repeats: int, device: str) -> float:
    """How many times as long rows take."""
    inputs, outputs = shape
    given = (
        torch.randn(batch, tokens, inputs, device=device),
        torch.randn(batch, tokens, outputs, device=device),
        torch.rand(batch, device=device),
        torch.ones(batch, dtype=torch.bool, device=device),
    )
    by_rows(*given), by_ghosts(*given)
    pairs = [
        (seconds(lambda: by_rows(*given), device), seconds(lambda: by_ghosts(*given), device)) for _ in range(repeats)
    ]
    return statistics.median(rows / ghosts for rows, ghosts in pairs)


def layers(options: argparse.Namespace) -> None:
    print("time of rows / time of ghosts; * where the rule chooses ghosts")
    print(f"{'layer':24}" + "".join(f"{f'{tokens} tokens':>12}" for tokens in TOKENS))
    regret = 1.0
    for name, (inputs, outputs) in LAYERS.items():
        line = f"{name:24}"
        for tokens in TOKENS:
            found = ratio(
                (inputs, outputs), tokens, batch=options.batch, repeats=options.repeats, device=options.device
            )
            chosen = ghost_pays(batch=options.batch, tokens=tokens, inputs=inputs, outputs=outputs)
            regret = max(regret, 1 / found if chosen else 1.0)
            line += f"{f'{found:.2f}' + ('*' if chosen else ' '):>12}"
        print(line, flush=True)
    print(f"the rule never loses more than a factor of {regret:.2f} by choosing ghosts")


def whole_steps(options: argparse.Namespace) -> None:
    """DistilBERT's own head (768 × 768 and 768 × 2 at one token), and its last block with the head."""
    torch.manual_seed(0)
    config = DistilBertConfig(n_layers=2, num_labels=2)
    model = DistilBertForSequenceClassification(config).to(options.device).eval()
    ids = torch.randint(1000, 20000, (options.batch, 32), device=options.device)
    labels = torch.randint(0, 2, (options.batch,), device=options.device)

    def loss(of: nn.Module, batch: Tensor) -> Tensor:
        return nn.functional.cross_entropy(of(input_ids=batch).logits, labels, reduction="none")

    for what, trained in {"own head": ("classifier",), "own head and last block": ("classifier", "layer.1.")}.items():
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(any(part in name for part in trained))
        rows = ByHooks(rules=EXACT_RULES, keep_factors=lambda **_: False)
        both = [lambda s=s: s.clip(model, ids, loss, clip_norm=1.0) for s in (rows, ByHooks(rules=EXACT_RULES))]
        pairs = [tuple(seconds(step, options.device) for step in both) for _ in range(options.repeats + 1)][1:]
        print(
            f"DistilBERT of two blocks, {what}: rows {statistics.median(a for a, _ in pairs):.3f} s a step, "
            f"by the rule {statistics.median(b for _, b in pairs):.3f} s, "
            f"ratio {statistics.median(a / b for a, b in pairs):.2f}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in {"batch": 32, "repeats": 5, "threads": 1}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    layers(options)
    whole_steps(options)


if __name__ == "__main__":
    main()
