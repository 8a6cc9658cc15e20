import numpy as np
import pytest

from fedpeft_secure.config import PartitionConfig
from fedpeft_secure.data import LabelledTexts
from fedpeft_secure.data.partitions import partition
from fedpeft_secure.errors import DataError
from fedpeft_secure.seeds import Seed

SCHEMES = ["dirichlet", "dirichlet_quantity", "iid", "pathological"]
TRAINING = LabelledTexts(
    texts=tuple(f"text {index}" for index in range(1203)),
    labels=np.arange(1203) % 4,
    groups=tuple(f"site {index % 5}" for index in range(1203)),
)


def _deal(scheme: str, *, clients: int = 7, seed: int = 0, **options) -> tuple[LabelledTexts, ...]:
    return partition(TRAINING, config=PartitionConfig(scheme=scheme, **options), clients=clients, seed=Seed(seed))


def _label_skew(parts: tuple[LabelledTexts, ...]) -> float:
    """Mean total variation distance of the clients' label mixes from the uniform mix."""
    mixes = [np.bincount(part.labels, minlength=4) / len(part) for part in parts]
    return float(np.mean([np.abs(mix - 0.25).sum() / 2 for mix in mixes]))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_example_is_dealt_once_with_its_label(scheme: str) -> None:
    parts = _deal(scheme)
    assert sorted(text for part in parts for text in part.texts) == sorted(TRAINING.texts)
    label_of = dict(zip(TRAINING.texts, TRAINING.labels.tolist(), strict=True))
    assert all(label_of[text] == label for part in parts for text, label in zip(part.texts, part.labels, strict=True))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_seed_alone_decides(scheme: str) -> None:
    first, again, other = _deal(scheme), _deal(scheme), _deal(scheme, seed=1)
    assert [part.texts for part in first] == [part.texts for part in again]
    assert [set(part.texts) for part in first] != [set(part.texts) for part in other]


@pytest.mark.parametrize("scheme", ["dirichlet", "iid"])
def test_equal_sizes_differ_by_one_at_most(scheme: str) -> None:
    sizes = [len(part) for part in _deal(scheme)]
    assert max(sizes) - min(sizes) <= 1


def test_dirichlet_quantity_gives_unequal_sizes_without_empty_clients() -> None:
    sizes = [len(part) for seed in range(5) for part in _deal("dirichlet_quantity", alpha=0.3, seed=seed)]
    assert min(sizes) >= 1
    assert max(sizes) > 2 * 1203 / 7


@pytest.mark.parametrize("scheme", ["dirichlet", "dirichlet_quantity"])
def test_label_skew_grows_as_alpha_falls(scheme: str) -> None:
    skews = [np.mean([_label_skew(_deal(scheme, alpha=a, seed=s)) for s in range(4)]) for a in (100.0, 1.0, 0.1)]
    assert skews[0] < 0.1 < skews[1] < 0.4 < skews[2]
    assert np.diff(skews).min() > 0.1


def test_iid_has_no_label_skew() -> None:
    assert _label_skew(_deal("iid")) < 0.1


@pytest.mark.parametrize("classes", [1, 2])
def test_pathological_clients_hold_so_many_classes(classes: int) -> None:
    assert {len(set(part.labels.tolist())) for part in _deal("pathological", classes_per_client=classes)} == {classes}


def test_column_gives_each_owner_its_own_client_in_order_of_name() -> None:
    parts = _deal("column", clients=5, column="site")
    assert [set(part.groups or ()) for part in parts] == [{f"site {index}"} for index in range(5)]
    assert sum(map(len, parts)) == 1203


def test_column_orders_numbers_as_numbers() -> None:
    owned = LabelledTexts(texts=("text",) * 30, labels=np.zeros(30), groups=("10", "9", "100") * 10)
    parts = partition(owned, config=PartitionConfig(scheme="column", column="x"), clients=3, seed=Seed(0))
    assert [part.groups[0] for part in parts if part.groups] == ["9", "10", "100"]


def test_column_must_match_the_number_of_clients() -> None:
    with pytest.raises(DataError, match=r"'site' has 5 different values .* set clients.count = 5"):
        _deal("column", clients=4, column="site")


def test_column_needs_data_with_owners(examples: LabelledTexts) -> None:
    with pytest.raises(DataError, match=r"data.partition.scheme"):
        partition(examples, config=PartitionConfig(scheme="column"), clients=3, seed=Seed(0))


def test_more_clients_than_examples_are_refused(examples: LabelledTexts) -> None:
    with pytest.raises(DataError, match=r"lower clients.count"):
        partition(examples, config=PartitionConfig(scheme="iid"), clients=301, seed=Seed(0))


def test_a_client_that_would_stay_empty_is_refused(examples: LabelledTexts) -> None:
    config = PartitionConfig(scheme="dirichlet_quantity", alpha=0.001)
    with pytest.raises(DataError, match=r"alpha = 0.001 some of the 20 clients .* raise data.partition.alpha"):
        partition(examples, config=config, clients=20, seed=Seed(0))


def test_an_impossible_alpha_is_refused(examples: LabelledTexts) -> None:
    with pytest.raises(DataError, match=r"raise data.partition.alpha"):
        partition(examples, config=PartitionConfig(alpha=1e-4), clients=20, seed=Seed(0))


def test_too_many_classes_per_client_are_refused() -> None:
    with pytest.raises(DataError, match="classes_per_client = 5 are impossible"):
        _deal("pathological", classes_per_client=5)


def test_classes_without_a_client_are_refused() -> None:
    with pytest.raises(DataError, match="2 classes fall to no client"):
        _deal("pathological", clients=2)


@pytest.mark.parametrize("scheme", [*SCHEMES, "column"])
def test_nothing_is_printed(scheme: str, capfd: pytest.CaptureFixture[str]) -> None:
    _deal(scheme, clients=5, column="site")
    assert capfd.readouterr() == ("", "")
