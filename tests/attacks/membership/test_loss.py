import numpy as np
import pytest

from attacks import Granularity
from attacks.membership import CalibratedMembership, LossMembership
from attacks.suite.case import Case, open_case
from attacks.suite.members import match_classes
from attacks.suite.question import server_step
from fedpeft_secure.adapters import AdapterState
from fedpeft_secure.data import LabelledTexts
from fedpeft_secure.server.evaluation import predict
from fedpeft_secure.server.job import TrainedRun
from tests.attacks.suite.conftest import open_run, tiny_bert, tiny_config

__all__ = ["open_run", "tiny_bert", "tiny_config"]


@pytest.fixture
def case(open_run: TrainedRun) -> Case:
    return open_case(open_run)


def test_scores_are_losses_of_the_revealed_model(case: Case) -> None:
    view = case.read("client-1")
    federation = case.federation
    candidates = federation.validation

    def apply(before: AdapterState, observed: np.ndarray) -> AdapterState:
        return server_step(case, case.plan, before, observed)

    shared = {"backbone": federation.backbone, "candidates": candidates, "apply": apply}
    rng = np.random.default_rng(0)
    plain = LossMembership(**shared).run(view, rng=rng).scores  # type: ignore[arg-type]
    calibrated = CalibratedMembership(**shared).run(view, rng=rng).scores  # type: ignore[arg-type]
    after = predict(federation.backbone, apply(view.before, view.observed), candidates).losses
    before = predict(federation.backbone, view.before, candidates).losses
    np.testing.assert_allclose(plain, -after, rtol=1e-6)
    np.testing.assert_allclose(calibrated, before - after, atol=1e-6)
    assert np.abs(calibrated).max() > 0
    assert LossMembership(**shared).needs is Granularity.SUM  # type: ignore[arg-type]


def test_a_batch_of_one_lowers_its_own_loss_and_raises_that_of_the_other_class(case: Case) -> None:
    texts = case.federation.data.clients[0]
    chosen, label = texts.take([0]), int(texts.labels[0])
    view = case.replay("individual", {"client-1": chosen}, client="client-1", name="one")
    other = case.federation.data.test.take(np.flatnonzero(case.federation.data.test.labels != label))
    joined = LabelledTexts(texts=chosen.texts + other.texts, labels=np.concatenate([chosen.labels, other.labels]))
    attack = CalibratedMembership(
        backbone=case.federation.backbone,
        candidates=case.federation.tokenise(joined),
        apply=lambda before, observed: server_step(case, case.plan, before, observed),
    )
    scores = attack.run(view, rng=np.random.default_rng(0)).scores
    assert scores[0] > 0 > scores[1:].mean()


def test_all_three_groups_have_the_members_mix_of_classes() -> None:
    members = LabelledTexts(texts=tuple("abcdefgh"), labels=np.array([0, 0, 0, 0, 0, 0, 1, 1]))
    public = LabelledTexts(texts=tuple(str(i) for i in range(30)), labels=np.array([0] * 8 + [1] * 22))
    panel = match_classes(members, public, rng=np.random.default_rng(0))
    for group in (panel.members, panel.non_members, panel.control):
        assert np.bincount(group.labels).tolist() == [4, 2]
    assert not set(panel.non_members.texts) & set(panel.control.texts)
    assert set(panel.members.texts) <= set(members.texts)
