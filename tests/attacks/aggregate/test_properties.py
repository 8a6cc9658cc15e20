"""Labels and properties of the data behind a message, on real updates and on sums."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from attacks import AttackError, NotApplicableError
from attacks.aggregate import ClassShares, PropertyInference, likeliest_label
from attacks.membership import separation
from attacks.suite.case import Case, open_case
from fedpeft_secure.data import LabelledTexts
from fedpeft_secure.events import ignore
from fedpeft_secure.server.job import training_run
from tests.fedpeft_secure.conftest import MakeConfig, tiny_bert, tiny_config

__all__ = ["tiny_bert", "tiny_config"]


@pytest.fixture(scope="module")
def case(tiny_config: MakeConfig, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Case]:
    config = tiny_config({"privacy.epsilon": "inf", "secure_sum.protocol": "masked", "attacks.run": []})
    with training_run(config, tmp_path_factory.mktemp("runs") / "run", resume=False, listen=ignore) as trained:
        yield open_case(trained)


def of_class(case: Case, client: int, label: int, count: int) -> LabelledTexts:
    held = case.federation.data.clients[client]
    return held.take(np.flatnonzero(held.labels == label)[:count])


def test_the_label_of_a_batch_of_one_is_read_off_the_bias(case: Case) -> None:
    for label in (0, 1):
        for client in (0, 1):
            texts = {"client-1": of_class(case, client, label, 1)}
            seen = case.replay("individual", texts, client="client-1", name=f"label {label} {client}")
            assert likeliest_label(seen) == label


def test_class_shares_come_out_of_a_secure_sum(case: Case) -> None:
    """Batches of four, of which three, two, one … are of class 1: nine of twenty over the cohort."""
    counts = dict(zip(case.federation.config.client_names, (3, 2, 1, 2, 1), strict=True))
    texts = {}
    for index, (name, ones) in enumerate(counts.items()):
        both = [of_class(case, index, 1, ones), of_class(case, index, 0, 4 - ones)]
        texts[name] = LabelledTexts(
            texts=tuple(text for part in both for text in part.texts),
            labels=np.concatenate([part.labels for part in both]),
        )
    present = np.concatenate([part.labels for part in texts.values()])
    seen = case.replay("sum", texts, client="client-1", name="shares")
    attack = ClassShares(backbone=case.federation.backbone, public=case.federation.validation)
    found = attack.run(seen, rng=np.random.default_rng(0))
    assert found.sum() == pytest.approx(1.0)
    assert found[1] == pytest.approx(present.mean(), abs=0.08)


def test_no_bias_and_no_sgd_are_not_applicable(case: Case) -> None:
    seen = case.replay("individual", {"client-1": of_class(case, 0, 1, 1)}, client="client-1", name="none")
    with pytest.raises(NotApplicableError, match="AdamW"):
        likeliest_label(replace(seen, plan=seen.plan.model_copy(update={"optimizer": "adamw"})))
    headless = type(seen.trained)(entries=tuple(e for e in seen.trained.entries if "classifier" not in e.name))
    with pytest.raises(NotApplicableError, match="bias"):
        likeliest_label(replace(seen, trained=headless, observed=np.zeros(headless.size)))


@pytest.mark.parametrize(
    ("cohort", "noise", "low", "high"), [(1, 0.0, 0.95, 1.0), (8, 0.0, 0.6, 1.0), (1, 1.0, 0.3, 0.75)]
)
def test_a_property_shows_in_messages_less_in_sums_and_hardly_under_noise(
    cohort: int, noise: float, low: float, high: float
) -> None:
    """Messages whose common part is a direction of length 0.5 with the property; one client of the sum has it."""
    rng, dim = np.random.default_rng(0), 400
    direction = rng.normal(size=dim)
    direction *= 0.5 / np.linalg.norm(direction)

    def messages(count: int, *, has: bool) -> np.ndarray:
        own = rng.normal(size=(count, cohort, dim)) / dim**0.5
        own[:, 0] += direction if has else 0.0
        return (own.sum(axis=1) + noise * rng.normal(size=(count, dim))) / cohort

    attack = PropertyInference(with_property=messages(60, has=True), without=messages(60, has=False))
    scores = [attack.score(messages(100, has=has), rng=np.random.default_rng(1)) for has in (True, False)]
    null = attack.score(messages(100, has=False), rng=np.random.default_rng(1))
    assert low <= separation(*scores).auc <= high
    assert separation(null, scores[1]).auc == pytest.approx(0.5, abs=0.12)


def test_property_inference_needs_shadows_of_both_kinds() -> None:
    with pytest.raises(AttackError):
        PropertyInference(with_property=np.zeros((1, 4)), without=np.zeros((5, 4)))
