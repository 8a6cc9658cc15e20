"""Under a memory limit that uniform LoRA exceeds on half of the devices: adaptive allocation beside leaving those out.

    python benchmarks/adaptive_allocation.py [--seeds 0 1 2 3 4] [--rounds 10] [--memory 145]

MiniLM, 8 clients with skewed labels, no DP, plain sum: Rotten Tomatoes (two classes, Dirichlet 0.1, equal sizes), BBC
news (five topics; every client has `--topics`, two unless told) or synthetic messages (five classes; every client has
one, and a little label noise). Half of the clients, drawn by the seed, have `--memory` MiB, the others 1 GiB. "Uniform"
trains all layers at rank 8; on the small devices it does not fit, not even with the smallest batch that is allowed. All
arms have the same partition, rounds, steps, sampling rate and seeds; each seed is a partition, a choice of devices and
a start of its own.
Prints a line for every run as it ends, and the mean of the paired differences with a 95 % interval (t).
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from scipy.stats import t as student

import dp
from fedpeft_secure.aggregation.context import RoundContext
from fedpeft_secure.allocation.adaptive import decide, menu_of
from fedpeft_secure.allocation.device_terms import client_devices
from fedpeft_secure.allocation.solver import Part, options
from fedpeft_secure.config import Config
from fedpeft_secure.config_file import parse_config
from fedpeft_secure.engines.in_process import run_round
from fedpeft_secure.events import ignore
from fedpeft_secure.seeds import Seed
from fedpeft_secure.server.evaluation import predict
from fedpeft_secure.server.federation import build_federation
from fedpeft_secure.server.planning import plan_round

CLIENTS = 8
DATA = {
    "rotten_tomatoes": {"name": "rotten_tomatoes", "partition": {"scheme": "dirichlet", "alpha": 0.1}},
    "synthetic": {
        "name": "synthetic",
        "synthetic": {"examples": 2000, "classes": 5, "label_skew": 1.0, "topic_skew": 0.0},
    },
}
ARMS = ("adaptive", "left out", "no limit")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--data", choices=(*DATA, "bbc_news"), default="rotten_tomatoes")
    parser.add_argument("--topics", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--sample-rate", type=float, default=0.05)
    parser.add_argument("--holders", type=float, default=0.0)
    parser.add_argument("--memory", type=float, default=145.0)
    parser.add_argument("--arms", nargs="+", default=["adaptive", "left out"], choices=ARMS)
    given = parser.parse_args()
    found: dict[str, list[float]] = {arm: [] for arm in given.arms}
    for seed in given.seeds:
        for arm in given.arms:
            start = time.perf_counter()
            accuracy, note = run(arm, seed, given)
            found[arm].append(accuracy)
            print(
                f"seed {seed}, {arm}: accuracy {accuracy:.4f} ({note}; {time.perf_counter() - start:.0f} s)", flush=True
            )
        summarise(found)


def summarise(found: dict[str, list[float]]) -> None:
    for arm, accuracies in found.items():
        print(f"  {arm}: mean {statistics.mean(accuracies):.4f} over {len(accuracies)} seeds", flush=True)
    if {"adaptive", "left out"} <= found.keys() and len(found["adaptive"]) > 1:
        gaps = [100 * (a - b) for a, b in zip(found["adaptive"], found["left out"], strict=True)]
        mean, count = statistics.mean(gaps), len(gaps)
        half = student.ppf(0.975, count - 1) * statistics.stdev(gaps) / count**0.5
        print(
            f"  adaptive - left out: {mean:+.2f} points, 95 % interval {mean - half:+.2f} to {mean + half:+.2f}",
            flush=True,
        )


def small_devices(seed: int) -> frozenset[str]:
    drawn = Seed(seed).child("small devices").permutation(CLIENTS)[: CLIENTS // 2]
    return frozenset(f"client-{index + 1}" for index in drawn)


def data_of(given: argparse.Namespace) -> dict[str, object]:
    if given.data == "bbc_news":
        return {"name": "bbc_news", "partition": {"scheme": "pathological", "classes_per_client": given.topics}}
    return DATA[given.data]


def config_of(arm: str, seed: int, given: argparse.Namespace) -> Config:
    tables = {
        "seed": seed,
        "data": data_of(given),
        "clients": {"count": CLIENTS, "per_round": CLIENTS},
        "training": {
            "rounds": given.rounds,
            "sample_rate": given.sample_rate,
            "nominal_batch": 44,
            "evaluate_every": 1000,
        },
        "privacy": {"epsilon": "inf", "clip_norm": 10.0},
        "secure_sum": {"protocol": "plain", "server": "curious", "bits": 24},
    }
    if arm == "adaptive":
        small = small_devices(seed)
        tables["allocation"] = {
            "strategy": "adaptive",
            "holders": given.holders,
            "devices": {
                name: {"memory_mib": given.memory if name in small else 1024.0, "gflops": 50.0}
                for name in (f"client-{index}" for index in range(1, CLIENTS + 1))
            },
        }
    return parse_config(tables)


def run(arm: str, seed: int, given: argparse.Namespace) -> tuple[float, str]:
    config = config_of(arm, seed, given)
    gone = small_devices(seed) if arm == "left out" else frozenset()
    note = note_of(config, seed, given) if arm == "adaptive" else f"{CLIENTS - len(gone)} clients"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.sqlite"
        with dp.Ledger.open(path) as ledger:
            federation = build_federation(config, run="benchmark", ledger=ledger, ledger_path=path, listen=ignore)
            state, optimizer = federation.start, federation.optimizer
            for number in range(1, given.rounds + 1):
                plan = plan_round(
                    federation.config,
                    run="benchmark",
                    round_number=number,
                    attempt=0,
                    state=state,
                    strategy=federation.strategy,
                    budgets=federation.budgets,
                )
                # Everybody agreed to the same terms; who is left out is only not asked.
                plan = plan.model_copy(update={"cohort": tuple(name for name in plan.cohort if name not in gone)})
                outcome = run_round(
                    plan,
                    state,
                    federation.clients,
                    strategy=federation.strategy,
                    spec=federation.backbone.spec,
                    directory=federation.keys.directory,
                    drop={},
                    listen=ignore,
                )
                if outcome.received is None:
                    raise SystemExit(f"round {number} failed: {outcome.failure} {outcome.refusals}")
                context = RoundContext(plan=plan, spec=federation.backbone.spec, state=state)
                state, optimizer = federation.strategy.apply(outcome.received, context, optimizer)
            return predict(federation.backbone, state, federation.test).accuracy, note


def note_of(config: Config, seed: int, given: argparse.Namespace) -> str:
    """What the small devices train, and that the whole module does not fit on them."""
    small, menu = small_devices(seed), menu_of(config_of("no limit", seed, given))
    whole = Part(layers=menu.layers, targets=menu.targets, rank=menu.ranks[-1])
    for name, device in zip(config.client_names, client_devices(config), strict=True):
        able = any(option.part == whole for option in options(menu, device, noise_multiplier=0.0))
        if able == (name in small):
            raise SystemExit(f"{name}: the whole module was to fit on large devices only; change --memory")
    depths = {decision.layers for decision in decide(config) if decision.client in small}
    return f"{CLIENTS} clients, small devices train the top {sorted(depths)} layers"


if __name__ == "__main__":
    main()
