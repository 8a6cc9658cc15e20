"""The cost model of `fedpeft_secure.allocation` beside what a step really takes: peak memory and time.

    python benchmarks/cost_model.py [--repeats 7] [--threads 1]

Memory is the peak of the resident set during a step (VmHWM, after it was reset) less the resident set before the model
was made: all that the model and the step add to an interpreter that has its libraries loaded and has run a small model
once. Time is the processor time of the best of several steps, which is the time on an idle core. Each point runs in a
process of its own. The model's constants are fitted on CALIBRATION, and judged on VALIDATION, which shares no point
with it.
"""

import argparse
import ctypes
import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

MODELS = {  # layers, width, feed-forward, heads
    "tiny": (4, 128, 512, 2),
    "small": (4, 256, 1024, 4),
    "medium": (8, 512, 2048, 8),
    "minilm": (6, 384, 1536, 12),
}
VOCABULARY = 8000


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    model: str
    method: str = "lora"
    layers: int = 6
    rank: int = 8
    batch: int = 32
    length: int = 64
    targets: tuple[str, ...] = ("query", "value")
    trains_a: bool = True
    private: bool = True


CALIBRATION = (
    Point(model="minilm", layers=6, batch=8, length=32),
    Point(model="minilm", layers=3, batch=16),
    Point(model="minilm", method="head", layers=0, batch=16),
    Point(model="minilm", layers=6, batch=48, rank=4, private=False),
    Point(model="small", layers=2, batch=24),
    Point(model="small", method="bitfit", layers=4, batch=16),
    Point(model="small", layers=1, batch=48),
    Point(model="medium", layers=4, batch=8),
    Point(model="medium", method="head", layers=0, batch=24, length=32),
    Point(model="minilm", method="head", layers=0, batch=64, length=48),
)
VALIDATION = (
    Point(model="minilm", layers=6),
    Point(model="minilm", layers=2, rank=4, batch=64),
    Point(model="minilm", layers=4, rank=16, batch=16, targets=("query", "key", "value")),
    Point(model="minilm", layers=6, trains_a=False, batch=24),
    Point(model="minilm", method="bitfit", layers=6, batch=32),
    Point(model="minilm", method="bitfit", layers=3, batch=16, private=False),
    Point(model="medium", layers=8, rank=2, batch=16),
    Point(model="medium", layers=2, rank=32, batch=32, length=32, private=False),
    Point(model="small", layers=4, rank=8, batch=64),
    Point(model="small", method="head", layers=0, batch=64),
)


def measure(point: Point, *, repeats: int, threads: int) -> dict[str, float]:
    """Peak bytes and seconds of a step, in this process."""
    import torch

    torch.set_num_threads(threads)
    step_of(Point(model="tiny", layers=2, batch=2, length=8))()  # libraries load what they need
    before = settle()
    step = step_of(point)
    settle()
    Path("/proc/self/clear_refs").write_text("5")
    step()
    peak = status("VmHWM")
    seconds = []
    for _ in range(repeats):
        start = time.process_time()
        step()
        seconds.append(time.process_time() - start)
    return {"bytes": peak - before, "seconds": min(seconds)}


def settle() -> int:
    """Gives freed memory back, and returns the bytes of the resident set."""
    import gc

    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    return status("VmRSS")


def status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1]) * 1024


def build(point: Point):
    """The model without adapter or head, its values random; MiniLM has MiniLM's sizes and vocabulary."""
    import torch
    from transformers import BertConfig, BertModel

    layers, width, inner, heads = MODELS[point.model]
    config = BertConfig(
        vocab_size=30522 if point.model == "minilm" else VOCABULARY,
        num_hidden_layers=layers,
        hidden_size=width,
        intermediate_size=inner,
        num_attention_heads=heads,
    )
    torch.manual_seed(0)
    return BertModel(config, add_pooling_layer=False)


def step_of(point: Point):
    """One step of training, as a client takes it."""
    import numpy as np
    import torch

    import dp.noise
    import dp.persample
    import dp.sgd
    from fedpeft_secure import methods
    from fedpeft_secure.adapters import AdapterSpec, Role
    from fedpeft_secure.allocation.allotment import Allotment
    from fedpeft_secure.clients.backbone import Backbone
    from fedpeft_secure.clients.batches import Batch, split_batch
    from fedpeft_secure.config import PeftTable
    from fedpeft_secure.models import MeanPooledClassifier

    base = MeanPooledClassifier(build(point), num_labels=2)
    method = point.method if point.method in ("lora", "bitfit") else "bitfit"
    table = PeftTable(method=method, rank=point.rank, targets=point.targets)
    model, spec = methods.wrap(base.eval(), table, public_name="benchmark", seed=0)
    model.eval()
    part = spec if point.method != "head" else spec.only([Role.HEAD])
    part = part if point.trains_a else part.only([Role.LORA_B, Role.HEAD])
    part = Allotment(client="benchmark", layers=point.layers).part_of(part)
    # BitFit's bias below all layers would make every layer a tuned one.
    tuned = tuple(e for e in part.entries if "embeddings" not in e.name or point.layers == MODELS[point.model][0])
    methods.train_only(model, AdapterSpec(entries=tuned))
    backbone = Backbone(
        model=model,
        per_example=dp.persample.wrap(model, split=split_batch),
        spec=spec,
        device=torch.device("cpu"),
        precision="fp32",
    )
    rng = np.random.default_rng(0)
    ids = torch.from_numpy(rng.integers(1000, VOCABULARY, (point.batch, point.length)))
    mask = torch.ones_like(ids)
    mask[0, -1] = 0  # one text is shorter, as in most batches
    labels = torch.from_numpy(rng.integers(0, 2, point.batch))
    batch = Batch(input_ids=ids, attention_mask=mask, labels=labels)
    noise = dp.noise.SeededGaussian(rng)

    def private() -> None:
        dp.sgd.noisy_sum(
            backbone.per_example, [batch], backbone.losses, clip_norm=1.0, noise_multiplier=1.0, noise=noise
        )

    def plain() -> None:
        dp.sgd.plain_sum(backbone.per_example, [batch], backbone.losses)

    return private if point.private else plain


def measured(point: Point, options: argparse.Namespace) -> dict[str, float]:
    """The same in a fresh process."""
    command = [sys.executable, __file__, "--point", json.dumps(asdict(point))]
    command += ["--repeats", str(options.repeats), "--threads", str(options.threads)]
    environment = os.environ | {"OMP_NUM_THREADS": str(options.threads)}
    found = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return json.loads(found.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--point", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.point:
        given = json.loads(options.point)
        point = Point(**{**given, "targets": tuple(given["targets"])})
        print(json.dumps(measure(point, repeats=options.repeats, threads=options.threads)))
        return
    report(
        [(point, measured(point, options)) for point in CALIBRATION],
        [(point, measured(point, options)) for point in VALIDATION],
        options,
    )


def report(calibrated, validated, options: argparse.Namespace) -> None:
    """Fits the device's constants, and prints predictions beside what was measured."""
    from fedpeft_secure.allocation.devices import Device, fit_memory, fit_time
    from fedpeft_secure.doctor import processor

    workspace, passing, holes = fit_memory([(counts(point), found["bytes"]) for point, found in calibrated])
    flop, byte, kernel = fit_time([(counts(point), found["seconds"]) for point, found in calibrated])
    device = Device(
        kind="this one",
        memory_bytes=float("inf"),
        seconds_per_flop=flop,
        seconds_per_byte=byte,
        seconds_per_kernel=kernel,
        workspace_bytes=workspace,
        passing_factor=passing,
        hole_share=holes,
    )
    print(f"{processor()}, {options.threads} thread(s), fp32, best of {options.repeats}; {len(calibrated)} points give")
    print(f"  {1e-9 / flop:.1f} GFLOP/s, {byte * 2**30:.3f} s/GiB, {1e3 * kernel:.2f} ms/kernel; ", end="")
    print(f"{workspace / 2**20:.0f} MiB workspace, {passing:.2f} passing, {holes:.2f} holes")
    print("\n| | MB measured | predicted | error | without weights | s measured | predicted | error |")
    print("|---|---|---|---|---|---|---|---|")
    worst = [0.0, 0.0]
    for point, found in validated:
        cost = counts(point)
        peak, seconds = device.peak_bytes(cost), device.step_seconds(cost)
        errors = [peak / found["bytes"] - 1, seconds / found["seconds"] - 1]
        alone = (peak - cost.weight_bytes) / (found["bytes"] - cost.weight_bytes) - 1
        worst = [max(most, abs(error)) for most, error in zip(worst, errors, strict=True)]
        print(
            f"| {named(point)} | {found['bytes'] / 1e6:.0f} | {peak / 1e6:.0f} | {errors[0]:+.0%} | {alone:+.0%} | "
            f"{found['seconds']:.3f} | {seconds:.3f} | {errors[1]:+.0%} |"
        )
    print(f"\nlargest errors: memory {worst[0]:.0%} (bound 20 %), time {worst[1]:.0%} (bound 25 %)")


def named(point: Point) -> str:
    method = point.method if point.method != "lora" else f"lora r={point.rank} {'/'.join(t[0] for t in point.targets)}"
    method += "" if point.trains_a else ", A frozen"
    return (
        f"{point.model}, {method}, {point.layers} layers, {point.batch} x {point.length}"
        f"{'' if point.private else ', not private'}"
    )


def counts(point: Point):
    import torch

    from fedpeft_secure.allocation.cost import cost_of
    from fedpeft_secure.allocation.shapes import Choice, ModelShape

    with torch.device("meta"):
        shape = ModelShape.of(build(point))
    chosen = {name: value for name, value in asdict(point).items() if name != "model"}
    return cost_of(shape, Choice(**chosen))


if __name__ == "__main__":
    main()
