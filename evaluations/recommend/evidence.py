"""Finished runs as evidence: those that differ in nothing but the seed are one candidate."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from evaluations.leaks import Leak, leaks_over_seeds
from evaluations.spread import Spread, spread
from fedpeft_secure.budgets import epsilon_limit
from fedpeft_secure.config import Config
from fedpeft_secure.errors import FedPeftError, InputError
from fedpeft_secure.result import Result
from fedpeft_secure.rundir import SavedRun, read_run


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """A configuration that was trained, and what it gave.

    Args:
        config: of its first seed.
        runs: directories, one for each seed.
        accuracy, leaks: over seeds.
        epsilons: the largest ε that each client spent in one training; infinite where nothing bounds it.
        deltas: the largest δ of each client's ε.
        limits: the ε that each client may spend where the configuration is run again, which may be more.
        upload_bytes: measured, per client and round, mean over seeds.
        result: of its first seed.
    """

    config: Config = field(repr=False)
    runs: tuple[Path, ...]
    accuracy: Spread
    leaks: tuple[Leak, ...]
    epsilons: dict[str, float]
    deltas: dict[str, float]
    limits: dict[str, float]
    upload_bytes: float
    result: Result = field(repr=False)

    @property
    def epsilon(self) -> float:
        """The largest of all clients."""
        return max(self.epsilons.values(), default=math.inf)

    @property
    def guarantee(self) -> tuple[str, float] | None:
        """What ε holds for, and the largest δ of any client; None without privacy."""
        privacy = self.result.privacy
        return (privacy.unit, max(self.deltas.values())) if privacy.private else None

    @property
    def title(self) -> str:
        """What it is, shortly."""
        private = "no privacy" if math.isinf(self.epsilon) else f"ε {self.epsilon:.2f}"
        training = self.config.training
        return f"{private}, {self.config.peft.description}, {self.result.setup.strategy}, {training.rounds} rounds"


def read_candidates(folders: Sequence[Path], base: Config | None) -> tuple[Candidate, ...]:
    """Every candidate below the folders, on the model and data of `base`.

    Args:
        folders: of runs, sweeps or comparisons.
        base: says which model and data count; None where all runs are on the same.

    Raises:
        InputError: If there is no finished run, none on this model and data, or no `base` and runs on several, or
            with ε of several units or δ, which cannot be compared.
    """
    runs = [run for folder in folders for run in _runs(folder)]
    if not runs:
        named = ", ".join(map(str, folders))
        raise InputError(f"--evidence {named}: no finished run in it; give a folder of runs or sweeps, or use --search")
    places = {(run.config.model.name, run.config.data.name) for run in runs}
    if base is None and len(places) > 1:
        raise InputError("--evidence: runs on several models or data sets; give a CONFIG that names one of each")
    wanted = places.pop() if base is None else (base.model.name, base.data.name)
    fitting = [run for run in runs if (run.config.model.name, run.config.data.name) == wanted]
    if not fitting:
        raise InputError(f"--evidence: no finished run of {wanted[0]} on {wanted[1]}; use --search, or another CONFIG")
    groups: dict[str, dict[int, SavedRun]] = {}
    for run in fitting:
        # A seed that was trained twice is one seed: the copies say nothing about luck.
        groups.setdefault(_without_seed(run.config), {}).setdefault(run.config.seed, run)
    found = tuple(_candidate([group[seed] for seed in sorted(group)]) for group in groups.values())
    if base is None and len({each.guarantee for each in found} - {None}) > 1:
        raise InputError("--evidence: runs whose ε hold for several units or δ; give a CONFIG that says which to keep")
    return found


def _runs(folder: Path) -> Iterator[SavedRun]:
    for path in sorted(folder.rglob("result.json")):
        if not (path.parent / "config.toml").is_file():
            continue
        try:
            yield read_run(path.parent)
        except (FedPeftError, ValueError):  # of another version: no evidence, and no reason to stop
            continue


def _without_seed(config: Config) -> str:
    """The configuration but for the seed, and for what says where and whether it is attacked."""
    tables = config.to_dict()
    tables["seed"] = 0
    tables["privacy"]["ledger"] = "run"
    tables["attacks"] = {}
    return repr(tables)


def _candidate(runs: Sequence[SavedRun]) -> Candidate:
    results = [run.result for run in runs]
    epsilons: dict[str, float] = {}
    deltas: dict[str, float] = {}
    for result in results:
        for row in result.privacy.clients:
            spent = row.epsilon_spent if result.privacy.private else math.inf
            epsilons[row.client] = max(spent, epsilons.get(row.client, 0.0))
            deltas[row.client] = max(row.delta, deltas.get(row.client, 0.0))
    return Candidate(
        config=runs[0].config,
        runs=tuple(run.directory.root for run in runs),
        accuracy=spread([result.utility.accuracy for result in results]),
        leaks=leaks_over_seeds([result.attacks for result in results]),
        epsilons=epsilons,
        deltas=deltas,
        limits={name: epsilon_limit(runs[0].config, name) for name in runs[0].config.client_names},
        upload_bytes=sum(result.communication.upload_bytes for result in results) / len(results),
        result=results[0],
    )
