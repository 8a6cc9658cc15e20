"""Training throughput: our client loop beside the straightforward one, in one run on one machine.

    python benchmarks/training_throughput.py [--examples 256] [--repeats 5]

Straightforward = the same model and LoRA under Opacus' `make_private`: fp32, every text padded to 128 tokens.
Ours = `train_locally`: per-example gradients by the same hooks, bfloat16 where the processor has it, physical batches
sorted by length and padded to their longest text. Both take one DP-SGD step over the same examples; the best of
`repeats` counts. Prints one JSON line.
"""

import argparse
import json
import time
import warnings
from collections.abc import Callable

import numpy as np
import torch
from opacus import PrivacyEngine
from torch.utils.data import DataLoader, TensorDataset

import dp.noise
import dp.sampling
from fedpeft_secure import methods, models
from fedpeft_secure.aggregation import choose_strategy
from fedpeft_secure.budgets import plan_budgets
from fedpeft_secure.clients.backbone import load_backbone
from fedpeft_secure.clients.batches import tokenise
from fedpeft_secure.clients.training import LocalTask, train_locally
from fedpeft_secure.config import Config
from fedpeft_secure.data import LabelledTexts, load
from fedpeft_secure.doctor import processor
from fedpeft_secure.seeds import Seed
from fedpeft_secure.server.planning import plan_round

PADDED_LENGTH = 128
PHYSICAL_BATCH = 32
NOISE_MULTIPLIER = 0.8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    config = Config()
    texts = load(config.data, clients=1, seed=Seed(0)).clients[0].take(np.arange(args.examples))
    precision, ours = our_step(config, texts)
    straightforward = opacus_step(config, texts)
    # Taken in turn, so that a noisy machine disturbs both alike.
    timings = [(timed(straightforward), timed(ours)) for _ in range(args.repeats)]
    theirs_best, ours_best = (args.examples / min(column) for column in zip(*timings, strict=True))
    print(
        json.dumps(
            {
                "processor": processor(),
                "threads": torch.get_num_threads(),
                "precision": precision,
                "examples": args.examples,
                "opacus_examples_per_second": round(theirs_best, 1),
                "ours_examples_per_second": round(ours_best, 1),
                "ratio": round(ours_best / theirs_best, 2),
            }
        )
    )


def timed(step: Callable[[], None]) -> float:
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def our_step(config: Config, texts: LabelledTexts) -> tuple[str, Callable[[], None]]:
    backbone, state = load_backbone(config, num_labels=2)
    examples = tokenise(texts, models.load_tokenizer(config.model), max_length=config.model.max_length)
    strategy, _ = choose_strategy(config)
    plan = plan_round(
        config,
        run="benchmark",
        round_number=1,
        attempt=0,
        state=state,
        strategy=strategy,
        budgets=plan_budgets(config),
    ).model_copy(update={"sample_rate": 1.0})

    def step() -> None:
        rng = np.random.default_rng(0)
        task = LocalTask(
            plan=plan,
            trained=backbone.spec,  # both factors, as in the straightforward loop
            noise_multiplier=NOISE_MULTIPLIER,
            sampling=dp.sampling.SeededPoisson(rng),
            noise=dp.noise.SeededGaussian(rng),
            physical_batch=PHYSICAL_BATCH,
        )
        train_locally(backbone, state, examples, task)

    return backbone.precision, step


def opacus_step(config: Config, texts: LabelledTexts) -> Callable[[], None]:
    tokenizer = models.load_tokenizer(config.model)
    encoded = tokenizer(
        list(texts.texts), truncation=True, max_length=PADDED_LENGTH, padding="max_length", return_tensors="pt"
    )
    data = TensorDataset(encoded["input_ids"], encoded["attention_mask"], torch.from_numpy(texts.labels.copy()))
    base = models.load_classifier(config.model, num_labels=2, seed=0)
    model, _ = methods.wrap(base, config.peft, public_name="benchmark", seed=0)
    model.train()
    optimizer = torch.optim.SGD([value for value in model.parameters() if value.requires_grad], lr=1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        private, optimizer, loader = PrivacyEngine().make_private(
            module=model,
            optimizer=optimizer,
            data_loader=DataLoader(data, batch_size=PHYSICAL_BATCH),
            noise_multiplier=NOISE_MULTIPLIER,
            max_grad_norm=1.0,
            poisson_sampling=False,
        )

    def step() -> None:
        # One logical batch in physical ones, as a user of Opacus would do with its batch memory manager.
        batches = list(loader)
        for position, (input_ids, attention_mask, labels) in enumerate(batches):
            optimizer.signal_skip_step(do_skip=position + 1 < len(batches))
            optimizer.zero_grad()
            logits = private(input_ids=input_ids, attention_mask=attention_mask).logits
            torch.nn.functional.cross_entropy(logits, labels).backward()
            optimizer.step()

    return step


if __name__ == "__main__":
    main()
