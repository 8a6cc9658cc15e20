import numpy as np
import pytest

from fedpeft_secure.config import DataConfig
from fedpeft_secure.data import FederatedData
from fedpeft_secure.data.duplicates import duplicate_clusters
from fedpeft_secure.data.grammar import load_grammar
from fedpeft_secure.data.synthetic import synthetic_clients
from fedpeft_secure.errors import DataError
from fedpeft_secure.seeds import Seed


def _generate(*, clients: int = 8, seed: int = 0, split_seed: int = 0, **options) -> FederatedData:
    config = DataConfig(name="synthetic", split_seed=split_seed, synthetic=options)
    return synthetic_clients(config, clients=clients, seed=Seed(seed))


def _topic_of(text: str) -> int:
    opening = text.split(".", maxsplit=1)[0]
    places = [(place, topic) for topic, words in enumerate(load_grammar().topic_words) for place in words["place"]]
    return max((len(place), topic) for place, topic in places if place in opening)[1]


def _favourite_shares(kinds: list[np.ndarray], *, count: int) -> np.ndarray:
    return np.array([np.bincount(kind, minlength=count).max() / len(kind) for kind in kinds])


def test_counts_and_classes() -> None:
    data = _generate(examples=1000, classes=3)
    assert (len(data.test), len(data.validation), sum(map(len, data.clients))) == (180, 60, 760)
    assert data.classes == ("praise", "complaint", "question")
    assert data.public_text
    assert data.secrets == ((),) * 8


def test_equal_sizes_without_quantity_skew() -> None:
    sizes = [len(client) for client in _generate(examples=1000, quantity_skew=0.0).clients]
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize(("skew", "share"), [(0.25, 0.228), (0.5, 0.368), (1.0, 0.655)])
def test_quantity_skew_follows_its_power_law(skew: float, share: float) -> None:
    sizes = [len(client) for client in _generate(examples=2000, quantity_skew=skew).clients]
    assert max(sizes) / sum(sizes) == pytest.approx(share, abs=0.01)
    assert min(sizes) >= 1


@pytest.mark.parametrize("skew", [0.0, 0.4, 0.8, 1.0])
def test_label_skew_is_the_probability_of_the_favourite(skew: float) -> None:
    data = _generate(examples=4000, classes=4, label_skew=skew, label_noise=0.0)
    shares = _favourite_shares([client.labels for client in data.clients], count=4)
    assert shares.mean() == pytest.approx(skew + (1 - skew) / 4, abs=0.04)


@pytest.mark.parametrize("skew", [0.0, 0.4, 0.8, 1.0])
def test_topic_skew_is_the_probability_of_the_favourite(skew: float) -> None:
    data = _generate(examples=4000, topics=4, topic_skew=skew)
    topics = [np.array([_topic_of(text) for text in client.texts]) for client in data.clients]
    assert _favourite_shares(topics, count=4).mean() == pytest.approx(skew + (1 - skew) / 4, abs=0.04)


def test_favourite_classes_are_dealt_out_evenly() -> None:
    data = _generate(examples=2000, classes=4, label_skew=1.0, label_noise=0.0)
    assert sorted(int(client.labels[0]) for client in data.clients) == [0, 0, 1, 1, 2, 2, 3, 3]


@pytest.mark.parametrize("noise", [0.0, 0.1, 0.3])
def test_label_noise_replaces_that_share_of_the_client_labels_only(noise: float) -> None:
    clean, noisy = _generate(label_noise=0.0), _generate(label_noise=noise)
    pairs = list(zip(clean.clients, noisy.clients, strict=True))
    assert all(left.texts == right.texts for left, right in pairs)
    changed = np.mean(np.concatenate([left.labels != right.labels for left, right in pairs]))
    assert changed == pytest.approx(noise, abs=0.04)
    assert clean.test.labels.tolist() == noisy.test.labels.tolist()


def test_public_parts_are_balanced_and_depend_on_the_split_seed_alone() -> None:
    first, other_run = _generate(), _generate(seed=1, clients=3, label_skew=1.0, secrets_per_client=5)
    other_split = _generate(split_seed=1)
    assert np.bincount(first.test.labels).tolist() == [180, 180]
    assert first.test.texts == other_run.test.texts
    assert first.validation.texts == other_run.validation.texts
    assert first.test.texts != other_split.test.texts


def test_the_run_seed_decides_what_clients_hold() -> None:
    texts = [[client.texts for client in _generate(seed=seed).clients] for seed in (0, 0, 1)]
    assert texts[0] == texts[1] != texts[2]


@pytest.mark.parametrize("seed", [0, 1])
def test_no_near_duplicate_straddles_the_parts(seed: int) -> None:
    data = _generate(examples=4000, classes=2, topics=1, seed=seed)
    parts = [tuple(t for client in data.clients for t in client.texts), data.validation.texts, data.test.texts]
    clusters = np.split(duplicate_clusters(sum(parts, ())), np.cumsum([len(part) for part in parts])[:-1])
    assert not set(clusters[0].tolist()) & {*clusters[1].tolist(), *clusters[2].tolist()}
    assert not set(clusters[1].tolist()) & set(clusters[2].tolist())


def test_secrets_are_planted_exactly_where_said() -> None:
    plain, planted = _generate(), _generate(secrets_per_client=7)
    for index, (before, after) in enumerate(zip(plain.clients, planted.clients, strict=True), start=1):
        secrets = {secret.row: secret for secret in planted.secrets[index - 1]}
        assert len(secrets) == 7
        for row, (old, new) in enumerate(zip(before.texts, after.texts, strict=True)):
            assert new == (f"{old} {secrets[row].sentence}" if row in secrets else old)
        for number, secret in enumerate(planted.secrets[index - 1], start=1):
            assert secret.sentence == f"The code of client-{index} for locker {number} is {secret.code}."
            assert len(secret.code) == 4
            assert secret.code.isdecimal()
        assert before.labels.tolist() == after.labels.tolist()
    public = planted.validation.texts + planted.test.texts
    assert not any("The code of" in text for text in public)


def test_codes_are_spread_over_all_codes() -> None:
    data = _generate(clients=2, secrets_per_client=700)
    codes = np.array([int(secret.code) for secrets in data.secrets for secret in secrets])
    assert abs(codes.mean() - 4999.5) < 4 * 2887 / np.sqrt(len(codes))
    assert codes.std() == pytest.approx(2887, rel=0.1)
    assert all(len({secret.code for secret in secrets}) == 700 for secrets in data.secrets)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"clients": 39, "examples": 50}, "leaves 38 messages for 39 clients: raise it or lower clients.count"),
        ({"examples": 50, "classes": 4}, "leaves 3 messages for a public split of 4 classes: raise it"),
        ({"secrets_per_client": 191}, "secrets_per_client = 191 is more than the 190 messages of client-1"),
    ],
)
def test_impossible_wishes_are_refused(options: dict, message: str) -> None:
    with pytest.raises(DataError, match=message):
        _generate(**options)


def test_a_partition_that_would_be_ignored_is_refused() -> None:
    config = DataConfig(name="synthetic", partition={"scheme": "iid"})
    with pytest.raises(DataError, match=r"data.partition does nothing for synthetic data"):
        synthetic_clients(config, clients=8, seed=Seed(0))
