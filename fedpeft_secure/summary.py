"""The lines that `fedpeft run` ends with."""

import math
from pathlib import Path

from fedpeft_secure.result import AttackRow, PersonalUtility, Result


def summary(result: Result, directory: Path) -> str:
    """How good, what it cost, what privacy was spent, what an attacker got, and where the report is."""
    utility, sent, compute = result.utility, result.communication, result.compute
    lines = [
        f"accuracy       {utility.accuracy:.3f} on {utility.examples} test examples "
        f"(majority class {utility.majority_baseline:.3f})",
        f"cost           {sent.upload_bytes / 1000:.0f} kB up, {sent.download_bytes / 1000:.0f} kB down per client and "
        f"round; upload 1/{sent.upload_ratio:.0f} of full fine-tuning; {compute.seconds['total']:.0f} s, "
        f"{compute.peak_memory_bytes / 1e9:.1f} GB",
        *([f"each client    {_personal(result.personal)}"] if result.personal is not None else []),
        f"privacy        {_privacy(result)}",
        *(f"attack         {_attack(row)}" for row in result.attacks),
        *(f"note           {warning}" for warning in result.setup.warnings),
        f"report         {directory / 'report.html'}",
    ]
    return "\n".join(lines)


def _personal(personal: PersonalUtility) -> str:
    worst = min(row.accuracy for row in personal.clients)
    return (
        f"accuracy {personal.accuracy:.3f} on its own held-out texts, mean of {len(personal.clients)} "
        f"(worst {worst:.3f}; the shared model {personal.shared_accuracy:.3f})"
    )


def _privacy(result: Result) -> str:
    privacy = result.privacy
    if not privacy.private:
        return "NONE: this run had no privacy budget (epsilon = inf)"
    worst = max(privacy.clients, key=lambda row: row.epsilon_spent)
    seeded = "; noise was SIMULATED from a seed and protects nobody" if privacy.noise == "simulation" else ""
    trusted = "; the SERVER IS TRUSTED with the noise" if privacy.mechanism == "central" else ""
    return (
        f"ε ≤ {worst.epsilon_spent:.2f} of {worst.epsilon_budget:g} at δ = {worst.delta:g} per {privacy.unit} "
        f"({privacy.relation}, {privacy.accountant}){trusted}{seeded}"
    )


def _attack(row: AttackRow) -> str:
    where = f"{row.attack} on {row.view}{' (replay)' if row.replay else ''}"
    if row.value is None:
        return f"{where}: {row.note}"
    interval = "" if row.low is None or row.high is None else f" [{row.low:.2f}, {row.high:.2f}]"
    null = "" if row.null is None or math.isnan(row.null) else f", null {row.null:.2f}"
    return f"{where}: {row.metric} {row.value:.2f}{interval}{null}"
