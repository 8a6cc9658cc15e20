"""Deals the training examples to the clients, by the partitioners of `flwr-datasets`."""

import contextlib
import io
import os
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedpeft_secure.config import PartitionConfig
from fedpeft_secure.data.examples import LabelledTexts
from fedpeft_secure.errors import DataError
from fedpeft_secure.seeds import Seed

_ATTEMPTS = 10


def partition(
    training: LabelledTexts, *, config: PartitionConfig, clients: int, seed: Seed
) -> tuple[LabelledTexts, ...]:
    """Deals every training example to exactly one client; no client stays empty.

    Args:
        training: the examples to deal; labels 0 … C-1, each present.
        config: the scheme and its parameters.
        clients: how many clients there are.
        seed: the run's seed; it alone decides the shuffle and the draws.
    Raises:
        DataError: the scheme cannot give each client an example, or each example a client.
    Source: Hsu et al. 2019 (Dirichlet); Acar et al. 2021 (equal sizes); McMahan et al. 2017 (pathological).
    """
    if clients > len(training):
        raise DataError(
            f"clients.count = {clients} is more than the {len(training)} training examples: lower clients.count"
        )
    groups = _group_indices(training, config=config, clients=clients)
    order = seed.child("data", "partition", "shuffle").permutation(len(training))
    for attempt in range(_ATTEMPTS):
        drawing_seed = seed.entropy("data", "partition", "draw", attempt)
        partitioner = _partitioner(config, clients=clients, examples=len(training), seed=drawing_seed)
        try:
            parts = _deal(partitioner, labels=training.labels[order], groups=groups[order], clients=clients)
        except ValueError:  # the draw gave a client no class with examples left, or no example at all
            continue
        _check_cover(parts, training=training, order=order, config=config)
        return tuple(training.take(order[part]) for part in parts)
    raise DataError(_impossible(config, clients=clients))


def _partitioner(config: PartitionConfig, *, clients: int, examples: int, seed: int) -> Any:
    os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")  # read once, when flwr_datasets is imported
    from flwr_datasets import partitioner as flower

    match config.scheme:
        case "dirichlet":
            sizes = [len(part) for part in np.array_split(np.arange(examples), clients)]
            return flower.InnerDirichletPartitioner(sizes, partition_by="label", alpha=config.alpha, seed=seed)
        case "dirichlet_quantity":
            return flower.DirichletPartitioner(
                clients, partition_by="label", alpha=config.alpha, min_partition_size=1, seed=seed
            )
        case "iid":
            return flower.IidPartitioner(clients)
        case "pathological":
            return flower.PathologicalPartitioner(
                clients,
                partition_by="label",
                num_classes_per_partition=config.classes_per_client,
                class_assignment_mode="first-deterministic",
                seed=seed,
            )
        case "column":
            return flower.NaturalIdPartitioner(partition_by="group")


def _deal(
    partitioner: Any, *, labels: NDArray[np.int64], groups: NDArray[np.int64], clients: int
) -> list[NDArray[np.int64]]:
    from datasets import Dataset

    columns = {"row": np.arange(len(labels)), "label": labels, "group": groups}
    with _quiet():
        partitioner.dataset = Dataset.from_dict(columns)
        return [np.asarray(partitioner.load_partition(index)["row"], dtype=np.int64) for index in range(clients)]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silences the partitioners' progress bars and retry warnings; their failures still raise."""
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


def _group_indices(training: LabelledTexts, *, config: PartitionConfig, clients: int) -> NDArray[np.int64]:
    if config.scheme != "column":
        return np.zeros(len(training), dtype=np.int64)
    if training.groups is None:
        raise DataError('data.partition.scheme = "column" needs data with a column of owners: a file or a hub data set')
    names = sorted(set(training.groups), key=lambda name: (not name.isdecimal(), name.zfill(20), name))
    if len(names) != clients:
        raise DataError(
            f"data.partition.column = {config.column!r} has {len(names)} different values among the training examples, "
            f"but clients.count = {clients}: set clients.count = {len(names)}"
        )
    index = {name: position for position, name in enumerate(names)}
    return np.array([index[name] for name in training.groups], dtype=np.int64)


def _check_cover(
    parts: list[NDArray[np.int64]], *, training: LabelledTexts, order: NDArray[np.int64], config: PartitionConfig
) -> None:
    dealt = np.concatenate(parts)
    if len(np.unique(dealt)) == len(dealt) == len(training):
        return
    left_out = np.setdiff1d(np.arange(len(training)), order[dealt])
    missing = len(np.unique(training.labels[left_out]))
    raise DataError(
        f"data.partition: {missing} classes fall to no client at classes_per_client = {config.classes_per_client} "
        f"and clients.count = {len(parts)}: raise either"
    )


def _impossible(config: PartitionConfig, *, clients: int) -> str:
    if config.scheme == "pathological":
        return (
            f"data.partition: {clients} clients with classes_per_client = {config.classes_per_client} are impossible "
            "for these classes: lower data.partition.classes_per_client or clients.count"
        )
    return (
        f"data.partition: with alpha = {config.alpha:g} some of the {clients} clients get no example in "
        f"{_ATTEMPTS} draws: raise data.partition.alpha or lower clients.count"
    )
