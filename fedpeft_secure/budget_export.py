"""Writes a plan of budgets to a file: CSV that `privacy.per_client` takes back, or JSON with everything."""

import csv
import io
import json
from pathlib import Path

from fedpeft_secure.budget_table import BudgetRow
from fedpeft_secure.config import Config
from fedpeft_secure.errors import InputError
from fedpeft_secure.per_client import COLUMNS
from fedpeft_secure.rundir import write_atomically


def export_plan(path: Path, config: Config, rows: list[BudgetRow]) -> None:
    """Writes the plan to a new file, completely or not at all.

    Args:
        path: ends in .csv or .json.
        config: the run's.
        rows: what `budget_rows` gave.

    Raises:
        InputError: The file exists, cannot be written, or cannot hold the plan.
    """
    check_target(path)
    text = plan_csv(config, rows) if path.suffix == ".csv" else plan_json(rows)
    try:
        write_atomically(path, text.encode())
    except OSError as error:
        raise InputError(f"--export {path}: {error.strerror}; give a file in a directory that can be written") from None


def check_target(path: Path) -> None:
    """Refuses a file that a plan cannot be written to, before anything long is computed.

    Raises:
        InputError: The file exists, has another ending, or its directory is not there.
    """
    if path.suffix not in (".csv", ".json"):
        raise InputError(f"--export {path}: the plan is written as .csv or .json; give a file with that ending")
    if path.exists():
        raise InputError(f"--export {path}: there is such a file; give a new one")
    if not path.parent.is_dir():
        raise InputError(f"--export {path}: there is no directory {path.parent}; give a file in one that is there")


def plan_json(rows: list[BudgetRow]) -> str:
    """All of the plan."""
    return json.dumps([row.model_dump(mode="json") for row in rows], indent=2) + "\n"


def plan_csv(config: Config, rows: list[BudgetRow]) -> str:
    """What decides the plan: as `privacy.per_client` it gives the same noise, or is refused under other settings.

    Raises:
        InputError: If a client has groups of its own, which a row cannot hold.
    """
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        terms = config.terms_of(row.client)
        if terms.groups:
            raise InputError(f"--export: {row.client} has groups of its own, which a CSV file cannot hold; write .json")
        budget: dict[str, object] = {}
        if not row.groups:
            noise = {"noise_multiplier": repr(row.noise_multiplier)} if row.noise_multiplier else {}
            budget = {"epsilon": repr(row.epsilon_budget), **noise}
        own = {
            "client": row.client,
            "delta": repr(row.delta),
            "sample_rate": repr(row.sample_rate),
            "clip_norm": repr(row.clip_norm),
            "rounds": "" if terms.rounds is None else terms.rounds,
        }
        writer.writerow(own | budget)
    return out.getvalue()
