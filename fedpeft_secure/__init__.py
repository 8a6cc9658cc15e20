"""A privacy-first framework for parameter-efficient federated fine-tuning of foundation models."""

from fedpeft_secure.config import Config
from fedpeft_secure.result import Result
from fedpeft_secure.version import __version__

__all__ = ["Config", "Result", "__version__", "run"]


def __getattr__(name: str) -> object:
    """`run` is loaded when it is asked for: it stands in the composition root, which imports this package."""
    if name == "run":
        from fedpeft_secure.cli import run

        return run
    raise AttributeError(name)
