"""The whole comparison: every arm at every seed, one after another, each kept as soon as it is done."""

from collections.abc import Sequence
from pathlib import Path

from attacks.suite.run import ATTACKS
from evaluations.compare.arms import choose_arms
from evaluations.compare.cells import cell
from evaluations.compare.page import write_compare_page
from evaluations.compare.table import Comparison, markdown, summarise
from evaluations.training import require_simulation, without_notices
from fedpeft_secure.clients.backbone import new_store
from fedpeft_secure.config import Config
from fedpeft_secure.errors import InputError
from fedpeft_secure.events import Listener, Notice
from fedpeft_secure.rundir import write_atomically


def compare(
    base: Config,
    *,
    seeds: Sequence[int],
    arms: Sequence[str] = (),
    attacks: Sequence[str] = (),
    out: Path,
    listen: Listener,
) -> Comparison:
    """Trains every arm at every seed and writes `comparison.json`, `comparison.md` and a report page into `out`.

    All arms share data, splits and, at one seed, the partition and who takes part. Cells that `out` holds already are
    not run again, so that an interrupted comparison, or one with more arms or seeds, goes on.

    Args:
        base: what the arms share.
        seeds: at least one, none twice.
        arms: names of strategies and baselines; none for all.
        attacks: what the red team plays on every arm with a server; each takes its time.
        out: the directory of all cells.
        listen: told about progress.

    Raises:
        InputError: If an arm is unknown, noise is secret, or `out` holds cells of another configuration.
    """
    if not seeds or len(set(seeds)) < len(seeds):
        raise InputError("--seed: give at least one, and none twice")
    unknown = next((name for name in attacks if name not in ATTACKS), None)
    if unknown is not None:
        raise InputError(f"--attack {unknown}: there are {', '.join(ATTACKS)}")
    require_simulation(base, "fedpeft compare")
    chosen, refused = choose_arms(base, arms)
    cells = []
    inside = without_notices(listen)
    for seed in seeds:
        store = new_store(base)
        for arm in chosen:
            folder = out / arm.name / f"seed-{seed}"
            made = cell(arm, base, seed=seed, folder=folder, store=store, listen=inside, attacks=attacks)
            cells.append(made)
            done = f"{arm.name}, seed {seed}: accuracy {cells[-1].accuracy:.3f}"
            listen(Notice(text=f"{done} ({len(cells)} of {len(chosen) * len(seeds)})"))
    comparison = summarise(cells, refused)
    write_atomically(out / "comparison.json", comparison.model_dump_json(indent=2).encode())
    write_atomically(out / "comparison.md", markdown(comparison).encode())
    write_compare_page(out, comparison, base)
    return comparison
