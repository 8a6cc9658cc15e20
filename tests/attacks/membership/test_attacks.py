"""The attacks on real updates of a tiny model: members are found, views that are too weak are refused."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from attacks import AttackError, Granularity, View, ViewTooWeakError
from attacks.membership import (
    FedMia,
    LiraMembership,
    QuantileMembership,
    RmiaMembership,
    Shadows,
    UpdateCosineMembership,
    roc_figure,
    train_shadows,
)
from attacks.membership.update_cosine import gradients
from attacks.roc import roc
from attacks.suite.case import Case, open_case
from attacks.suite.membership_rules import RULES
from attacks.suite.question import Question, server_step
from fedpeft_secure.adapters import AdapterState
from fedpeft_secure.clients.batches import Examples
from fedpeft_secure.data import LabelledTexts
from fedpeft_secure.events import ignore
from fedpeft_secure.server.job import training_run
from tests.fedpeft_secure.conftest import MakeConfig, tiny_bert, tiny_config

__all__ = ["tiny_bert", "tiny_config"]

BATCH = 12


@pytest.fixture(scope="module")
def case(tiny_config: MakeConfig, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Case]:
    overrides = {"privacy.epsilon": "inf", "secure_sum.protocol": "plain", "training.server_learning_rate": 20.0}
    config = tiny_config({**overrides, "training.server_optimizer": "sgd", "attacks.run": []})
    with training_run(config, tmp_path_factory.mktemp("runs") / "run", resume=False, listen=ignore) as trained:
        yield open_case(trained)


@pytest.fixture(scope="module")
def texts(case: Case) -> LabelledTexts:
    """The first half is in the attacked batch of client-1."""
    return case.federation.data.clients[0].take(np.arange(2 * BATCH))


@pytest.fixture(scope="module")
def view(case: Case, texts: LabelledTexts) -> View:
    batches = {"client-1": texts.take(np.arange(BATCH)), "client-2": case.federation.data.clients[1].take([0])}
    return case.replay("individual", batches, client="client-1", name="test")


@pytest.fixture(scope="module")
def candidates(case: Case, texts: LabelledTexts) -> Examples:
    return case.federation.tokenise(texts)


def test_the_update_is_the_sum_of_its_members_directions(case: Case, view: View, candidates: Examples) -> None:
    rows = gradients(case.federation.backbone, view.before, candidates, view.trained)
    mean = rows[:BATCH].mean(axis=0)
    cosine = mean @ -view.observed / np.linalg.norm(mean) / np.linalg.norm(view.observed)
    assert cosine > 0.99
    attack = UpdateCosineMembership(backbone=case.federation.backbone, candidates=candidates)
    found = attack.run(view, rng=np.random.default_rng(0)).scores
    away = attack.run(replace(view, observed=-view.observed), rng=np.random.default_rng(0)).scores
    assert away == pytest.approx(-found)


@pytest.mark.parametrize("name", sorted(set(RULES) - {"min-k"}))
def test_every_rule_scores_every_candidate_by_the_message(
    case: Case, view: View, texts: LabelledTexts, name: str
) -> None:
    rule, words = RULES[name]
    question = Question(
        case=case,
        view=view,
        candidates=texts,
        public=case.federation.data.validation.take(np.arange(20)),
        beside={other: case.read(other) for other in case.plan.cohort[1:4]},
    )
    found = rule(question).scores
    assert found.shape == (2 * BATCH,)
    assert np.isfinite(found).all()
    assert words
    # Twelve members on a side are too few to tell a weak attack from none: what is asked is that the message matters.
    silent = replace(view, observed=np.zeros_like(view.observed))
    nothing = rule(replace(question, view=silent)).scores
    assert not np.array_equal(found, nothing)
    if name == "membership":
        assert nothing == pytest.approx(np.zeros(2 * BATCH), abs=1e-5), "no change of the model, no change of a loss"


def test_shadows_put_every_candidate_on_both_sides_equally_often(case: Case, candidates: Examples) -> None:
    def train(batch: Examples, rng: np.random.Generator) -> AdapterState:
        assert len(batch) == 10
        return case.before

    found = train_shadows(
        case.federation.backbone, candidates, train, models=12, batch=10, rng=np.random.default_rng(0)
    )
    counts = found.inside.sum(axis=0)
    assert (found.inside.sum(axis=1) == 10).all()
    assert counts.max() - counts.min() <= 1
    assert found.probabilities == pytest.approx(1 / (1 + np.exp(-found.scores)))
    for models, batch in ((3, 10), (12, 13), (12, 0)):
        with pytest.raises(AttackError):
            train_shadows(
                case.federation.backbone, candidates, train, models=models, batch=batch, rng=np.random.default_rng(0)
            )


def test_fedmia_reads_individual_updates_only(case: Case, view: View, candidates: Examples) -> None:
    attack = FedMia(
        backbone=case.federation.backbone, candidates=candidates, apply=lambda before, _: before, target="client-1"
    )
    summed = replace(view, granularity=Granularity.SUM)
    with pytest.raises(ViewTooWeakError, match="FedMia needs individual"):
        attack.run_rounds([{"client-1": summed, "client-2": summed, "client-3": summed}])
    with pytest.raises(AttackError, match="took no part"):
        attack.run_rounds([{"client-2": view}])
    with pytest.raises(AttackError, match="run_rounds"):
        attack.run(view, rng=np.random.default_rng(0))


def test_fedmia_compares_a_client_with_the_others_over_rounds(case: Case, candidates: Examples) -> None:
    parties, rounds = case.federation, []
    question = {name: parties.data.clients[index] for index, name in enumerate(parties.config.client_names)}
    for number in range(3):
        batches = {name: held.take(np.arange(BATCH)) for name, held in question.items()}
        rounds.append(
            {
                name: case.replay("individual", batches, client=name, name=f"fedmia {number} {name}")
                for name in ("client-1", "client-2", "client-3")
            }
        )

    def apply(before: AdapterState, observed: np.ndarray) -> AdapterState:
        return server_step(case, case.plan, before, observed)

    attack = FedMia(backbone=parties.backbone, candidates=candidates, apply=apply, target="client-1")
    found = attack.run_rounds(rounds).scores
    assert found.shape == (2 * BATCH,)
    assert (found <= 0).all(), "logarithms of probabilities"
    assert not np.allclose(found, replace(attack, target="client-2").run_rounds(rounds).scores)


def test_attacks_on_models_declare_that_sums_are_enough() -> None:
    for attack in (LiraMembership, RmiaMembership, QuantileMembership, UpdateCosineMembership):
        assert attack.__dataclass_fields__["needs"].default is Granularity.SUM


def test_shadows_hide_their_scores() -> None:
    assert "1.25" not in repr(Shadows(scores=np.full((2, 2), 1.25), inside=np.ones((2, 2), dtype=bool)))


def test_a_figure_is_drawn_on_logarithmic_axes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    figure = roc_figure({"attack": roc(rng.normal(1, 1, 200), rng.normal(size=200))})
    figure.draw_without_rendering()
    shown = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert {"0.1 %", "1 %", "10 %", "100 %"} <= set(shown)
    axes = figure.axes[0]
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    figure.savefig(tmp_path / "roc.png")
    assert (tmp_path / "roc.png").stat().st_size > 5000
    with pytest.raises(AttackError):
        roc_figure({})
