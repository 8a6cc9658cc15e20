"""The command line, and the composition root: the one place that reaches up to attacks and evaluations, lazily."""

# Importing a module of commands registers them, in the order of `fedpeft --help`.
from fedpeft_secure.cli import running, budgets, characteristics, attacking, evaluating, parties, machine  # noqa: I001
from fedpeft_secure.cli.app import app, main
from fedpeft_secure.cli.running import run

__all__ = [
    "app",
    "attacking",
    "budgets",
    "characteristics",
    "evaluating",
    "machine",
    "main",
    "parties",
    "run",
    "running",
]
