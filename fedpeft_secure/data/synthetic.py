"""Synthetic clients: labelled messages with label, topic and quantity skew, label noise and planted secrets."""

import numpy as np
from numpy.typing import NDArray

from fedpeft_secure.config import DataConfig, PartitionConfig, SyntheticConfig
from fedpeft_secure.data.duplicates import duplicate_clusters
from fedpeft_secure.data.examples import FederatedData, LabelledTexts, PlantedSecret
from fedpeft_secure.data.grammar import load_grammar
from fedpeft_secure.errors import DataError
from fedpeft_secure.seeds import Seed

_REWRITES = 20
_CODES = 10_000


def synthetic_clients(config: DataConfig, *, clients: int, seed: Seed) -> FederatedData:
    """Writes the messages of every client, and public ones without skew, noise or secrets.

    A client's label is its favourite class with probability `label_skew`, else uniform: the expected total variation
    distance from the uniform mix is `label_skew`·(1 - 1/C). Likewise for topics. Sizes fall as 1/k^(2·`quantity_skew`)
    over the clients in random order. A share `label_noise` of the clients' labels is replaced by another class.

    Guarantee: validation and test depend on `data.split_seed` alone; no client text is a near-duplicate of theirs.
        Planting secrets changes no other text.
    Args:
        config: `[data]`; it brings its own partition, so `[data.partition]` must be left alone.
        clients: how many clients there are; each gets at least one message.
        seed: the run's seed, of everything that the clients hold.
    Raises:
        DataError: too few messages for the clients or the secrets, or too many for the grammar.
    """
    options = config.synthetic
    if config.partition != PartitionConfig():
        raise DataError(
            "data.partition does nothing for synthetic data: remove it and set data.synthetic.label_skew, topic_skew "
            "and quantity_skew"
        )
    test_count = round(config.test_fraction * options.examples)
    validation_count = round(config.validation_fraction * options.examples)
    test, validation = _public_texts((test_count, validation_count), options=options, seed=Seed(config.split_seed))
    sizes = _sizes(options.examples - test_count - validation_count, clients=clients, options=options, seed=seed)
    held = _client_texts(sizes, options=options, avoid=test.texts + validation.texts, seed=seed)
    planted = [_plant(texts, client=index, options=options, seed=seed) for index, texts in enumerate(held, start=1)]
    return FederatedData(
        clients=tuple(texts for texts, _ in planted),
        validation=validation,
        test=test,
        classes=load_grammar().class_names[: options.classes],
        description=f"{options.examples:,} synthetic messages of {options.classes} classes on {options.topics} topics",
        public_text=True,
        secrets=tuple(secrets for _, secrets in planted),
    )


def _public_texts(counts: tuple[int, ...], *, options: SyntheticConfig, seed: Seed) -> list[LabelledTexts]:
    rng = seed.child("data", "synthetic", "public")
    parts: list[LabelledTexts] = []
    for count in counts:
        if count < options.classes:
            raise DataError(
                f"data.synthetic.examples = {options.examples} leaves {count} messages for a public split of "
                f"{options.classes} classes: raise it"
            )
        labels = rng.permutation(np.arange(count) % options.classes)
        topics = rng.integers(options.topics, size=count)
        taken = tuple(text for part in parts for text in part.texts)
        parts.append(LabelledTexts(texts=_write(labels, topics, avoid=taken, rng=rng), labels=labels))
    return parts


def _client_texts(
    sizes: NDArray[np.int64], *, options: SyntheticConfig, avoid: tuple[str, ...], seed: Seed
) -> list[LabelledTexts]:
    rng = seed.child("data", "synthetic", "clients")
    owners = np.repeat(np.arange(len(sizes)), sizes)
    labels = _skewed(owners, kinds=options.classes, skew=options.label_skew, rng=rng)
    topics = _skewed(owners, kinds=options.topics, skew=options.topic_skew, rng=rng)
    texts = _write(labels, topics, avoid=avoid, rng=rng)
    noisy = rng.random(len(labels)) < options.label_noise
    shift = rng.integers(1, options.classes, size=len(labels))
    observed = LabelledTexts(texts=texts, labels=np.where(noisy, (labels + shift) % options.classes, labels))
    return [observed.take(np.flatnonzero(owners == client)) for client in range(len(sizes))]


def _sizes(examples: int, *, clients: int, options: SyntheticConfig, seed: Seed) -> NDArray[np.int64]:
    """(clients,) positive sizes that sum to `examples`, proportional to k^(-2·quantity_skew) up to rounding."""
    if examples < clients:
        raise DataError(
            f"data.synthetic.examples = {options.examples} leaves {examples} messages for {clients} clients: raise it "
            "or lower clients.count"
        )
    shares = np.arange(1, clients + 1, dtype=np.float64) ** (-2 * options.quantity_skew)
    bounds = np.rint(np.cumsum(shares / shares.sum()) * (examples - clients)).astype(np.int64)
    sizes: NDArray[np.int64] = 1 + np.diff(bounds, prepend=0)
    return seed.child("data", "synthetic", "sizes").permutation(sizes)


def _skewed(owners: NDArray[np.int64], *, kinds: int, skew: float, rng: np.random.Generator) -> NDArray[np.int64]:
    """(n,) kinds: the owner's favourite with probability `skew`, else any. Favourites are dealt out evenly."""
    favourites = rng.permutation(np.arange(owners.max() + 1) % kinds)
    anything = rng.integers(kinds, size=len(owners))
    return np.where(rng.random(len(owners)) < skew, favourites[owners], anything)


def _write(
    labels: NDArray[np.int64], topics: NDArray[np.int64], *, avoid: tuple[str, ...], rng: np.random.Generator
) -> tuple[str, ...]:
    """Writes a message for each (label, topic), again while one is a near-duplicate of a text in `avoid`."""
    grammar = load_grammar()
    texts = [""] * len(labels)
    clashing = np.arange(len(labels))
    for _ in range(_REWRITES):
        for row in clashing:
            texts[row] = grammar.write(label=int(labels[row]), topic=int(topics[row]), rng=rng)
        clusters = duplicate_clusters((*(texts[row] for row in clashing), *avoid))
        clashing = clashing[np.isin(clusters[: len(clashing)], clusters[len(clashing) :])]
        if not len(clashing):
            return tuple(texts)
    raise DataError("data.synthetic.examples asks for more different messages than the grammar can write: lower it")


def _plant(
    texts: LabelledTexts, *, client: int, options: SyntheticConfig, seed: Seed
) -> tuple[LabelledTexts, tuple[PlantedSecret, ...]]:
    """Ends random messages of one client with secret sentences, at most one each."""
    count = options.secrets_per_client
    if count > len(texts):
        raise DataError(
            f"data.synthetic.secrets_per_client = {count} is more than the {len(texts)} messages of client-{client}: "
            "lower it or raise data.synthetic.examples"
        )
    rng = seed.child("data", "synthetic", "secrets", client)
    rows = np.sort(rng.choice(len(texts), size=count, replace=False)).tolist()
    codes = [f"{code:04d}" for code in rng.choice(_CODES, size=count, replace=False)]
    sentences = [f"The code of client-{client} for locker {index} is {code}." for index, code in enumerate(codes, 1)]
    secrets = tuple(
        PlantedSecret(row=row, sentence=sentence, code=code)
        for row, sentence, code in zip(rows, sentences, codes, strict=True)
    )
    marked = list(texts.texts)
    for secret in secrets:
        marked[secret.row] = f"{marked[secret.row]} {secret.sentence}"
    return LabelledTexts(texts=tuple(marked), labels=texts.labels), secrets
