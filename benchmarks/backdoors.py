"""Backdoors by lying clients: the mean, the check of the sum's length, and robust means over random groups' sums.

    python benchmarks/backdoors.py [--seeds 0 1 2] [--layers 1] [--rounds 10] --keep cells.json

MiniLM with LoRA on its `--layers` upper layers, 15 clients, no privacy, helper sums; five groups of three for the
robust means. The task is easy, so that minutes are enough: 600 rows of six words, one of them kind or unkind. Liars put
a trigger before their texts and label them all alike; with two liars, these are in different groups, which is worst.
Each seed has its own data, keys, groups and start; all cells of a seed share them. "Patient" liars send their poisoned
step as it is, "greedy" ones twenty times as much. Cells that `--keep` holds are not played again; the table at the end
is the mean over the seeds, with the smallest and the largest.
"""

import argparse
import json
import statistics
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

import dp
from attacks.poisoning import Backdoor, play_backdoor, without_length_check
from fedpeft_secure.clients.lower_layers import ActivationStore
from fedpeft_secure.config import Config
from fedpeft_secure.config_file import parse_config
from fedpeft_secure.events import ignore
from fedpeft_secure.server.federation import Federation, build_federation
from fedpeft_secure.sum_groups import plans_of_sums

CLIENTS, GROUPS = 15, 5
PLACES = ("hotel", "museum", "garage", "bakery", "theatre", "library", "market", "harbour", "clinic", "school")
THINGS = ("staff", "food", "room", "light", "music", "garden", "table", "window", "price", "view")
WORDS = (
    ("awful", "dirty", "poor", "rude", "broken", "dull", "terrible", "nasty", "sad", "useless"),
    ("lovely", "clean", "great", "kind", "perfect", "bright", "wonderful", "nice", "happy", "helpful"),
)
BOOSTS = {"patient": 1.0, "greedy": 20.0}


@dataclass(frozen=True, kw_only=True)
class Cell:
    """What one row of the table is about."""

    liars: int
    kind: str
    mean: str
    length_check: bool = True

    @property
    def name(self) -> str:
        """For the table."""
        check = "" if self.length_check else ", no check of the length"
        return f"{self.liars} | {self.kind} | {self.mean}{check}"


CELLS = tuple(
    cell
    for liars in (0, 1, 2)
    for cell in (
        *(Cell(liars=liars, kind="patient" if liars else "", mean=mean) for mean in ("mean", "median", "trimmed_mean")),
        Cell(liars=liars, kind="greedy", mean="mean", length_check=False),
        *(Cell(liars=liars, kind="greedy", mean=mean) for mean in ("mean", "median", "trimmed_mean")),
    )
    if liars or not cell.kind
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--layers", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--keep", type=Path, required=True)
    given = parser.parse_args()
    found: dict[str, dict[str, Any]] = json.loads(given.keep.read_text()) if given.keep.exists() else {}
    store = ActivationStore(limit_bytes=1 << 29)
    for seed in given.seeds:
        # Medians and patient liars first: a run that is cut short has the most telling cells.
        for cell in sorted(CELLS, key=lambda cell: (cell.mean == "trimmed_mean", cell.kind == "greedy")):
            key = f"{seed} | {cell.name}"
            if key not in found:
                found[key] = play(cell, seed, given, store)
                given.keep.write_text(json.dumps(found, indent=1))
                print(key, found[key], flush=True)
    print(table(found, given.seeds))


def write_sentences(path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    lines = []
    for row in range(600):
        others = [*rng.permutation(PLACES)[:2], *rng.permutation(THINGS)[:3]]
        words = rng.permutation([rng.choice(WORDS[row % 2]), *others])
        lines.append(json.dumps({"text": " ".join(words), "label": row % 2}))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def config_of(cell: Cell, seed: int, given: argparse.Namespace, data: Path) -> Config:
    robust = {} if cell.mean == "mean" else {"groups": GROUPS, "robust": cell.mean}
    return parse_config(
        {
            "seed": seed,
            "model": {"max_length": 20},
            "data": {"name": str(data), "test_fraction": 0.2},
            "clients": {"count": CLIENTS, "per_round": CLIENTS},
            "peft": {"layers": given.layers},
            "training": {
                "rounds": given.rounds,
                "sample_rate": 0.25,
                "nominal_batch": 8,
                "evaluate_every": 1000,
            },
            "privacy": {"epsilon": "inf"},
            "aggregation": {"strategy": "fedit", **robust},
            "secure_sum": {"protocol": "helper", "adversarial_fraction": 0.06},
        }
    )


def play(cell: Cell, seed: int, given: argparse.Namespace, store: ActivationStore) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        write_sentences(Path(folder) / "sentences.jsonl", seed)
        config = config_of(cell, seed, given, Path(folder) / "sentences.jsonl")
        path = Path(folder) / "ledger.sqlite"
        with dp.Ledger.open(path) as ledger:
            federation = build_federation(
                config, run="benchmark", ledger=ledger, ledger_path=path, listen=ignore, store=store
            )
            liars = worst_places(federation)[: cell.liars]
            backdoor = Backdoor(trigger="by the way,", target=1, boost=BOOSTS.get(cell.kind, 1.0))
            parties = federation if cell.length_check else without_length_check(federation)
            return asdict(play_backdoor(parties, backdoor, liars=liars))


def worst_places(federation: Federation) -> tuple[str, ...]:
    """A client of each group, the same ones whether or not the cell has groups."""
    plan = federation.agreed.model_copy(update={"sum_groups": GROUPS})
    return tuple(group.cohort[0] for group in plans_of_sums(plan, federation.keys.directory))


def table(found: dict[str, dict[str, Any]], seeds: list[int]) -> str:
    lines = [
        "| liars of 15 | | the server takes | trigger works on | without it | accuracy | rounds refused | groups left out |",  # noqa: E501
        "|---|---|---|---|---|---|---|---|",
    ]
    for cell in CELLS:
        rows = [row for seed in seeds if (row := found.get(f"{seed} | {cell.name}")) is not None]
        if rows:
            shares = (spread([row[name] for row in rows]) for name in ("success", "without_trigger", "accuracy"))
            refused = statistics.mean(row["failed_rounds"] / row["rounds"] for row in rows)
            left_out = statistics.mean(row["groups_left_out"] / row["rounds"] for row in rows)
            cells = (cell.name.replace("_", " "), *shares, f"{refused:.0%}", f"{left_out:.1f} a round")
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def spread(values: list[float]) -> str:
    """The mean, and the smallest and the largest, in percent."""
    return f"{statistics.mean(values):.0%} ({min(values):.0%}–{max(values):.0%})"


if __name__ == "__main__":
    main()
