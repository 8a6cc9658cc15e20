"""Reads data sets of the Hugging Face hub, without long retries where there is no network."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from fedpeft_secure.errors import DataError

_TIMEOUT_SECONDS = 10.0


def read_hub(name: str, *, label: str, remedy: str) -> tuple[pd.DataFrame, tuple[str, ...] | None]:
    """The `train` split of the hub's data set `name` as a table, and the class names that it declares.

    Args:
        name: data set id.
        label: the column whose declared class names are wanted.
        remedy: ends the message of the error.
    Raises:
        DataError: the hub has no such data set or is out of reach, and no earlier download is cached.
    """
    import datasets

    if not (_reachable(name) or _cached(name)):
        raise DataError(
            f"data.name: {name!r} is no file, nor a data set that the hub offers or that is cached: {remedy}"
        )
    try:
        with _without_progress_bars():
            data = datasets.load_dataset(name, split="train")
    except Exception as error:  # the exceptions of the hub's clients differ between their releases
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DataError(f"data.name: the hub's data set {name!r} cannot be read ({reason}): {remedy}") from error
    names = getattr(data.features.get(label), "names", None)
    return data.to_pandas(), tuple(names) if names else None


def _reachable(name: str) -> bool:
    """Whether the hub answers for `name` now: one request, where the download would retry for half a minute."""
    from huggingface_hub import HfApi

    try:
        HfApi().dataset_info(name, timeout=_TIMEOUT_SECONDS)
    except Exception:  # offline mode, no network, no such data set; their types differ between releases
        return False
    return True


def _cached(name: str) -> bool:
    import datasets

    return (Path(datasets.config.HF_DATASETS_CACHE) / name.replace("/", "___")).is_dir()


@contextlib.contextmanager
def _without_progress_bars() -> Iterator[None]:
    import datasets
    from huggingface_hub.utils import (  # type: ignore[attr-defined]
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )

    data_bars, hub_bars = datasets.is_progress_bar_enabled(), not are_progress_bars_disabled()
    datasets.disable_progress_bars()
    disable_progress_bars()
    try:
        yield
    finally:
        if data_bars:
            datasets.enable_progress_bars()
        if hub_bars:
            enable_progress_bars()
