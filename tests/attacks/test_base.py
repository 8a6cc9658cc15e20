from dataclasses import dataclass, replace

import numpy as np
import pytest

from attacks import Attack, AttackError, Granularity, Score, View, ViewTooWeakError, refuse_weaker, score
from tests.attacks.conftest import MakeView

SENTENCE = [1, 10, 11, 2]


@dataclass(frozen=True, kw_only=True, slots=True)
class Nosy:
    needs: Granularity = Granularity.INDIVIDUAL

    def run(self, view: View, *, rng: np.random.Generator) -> object:
        return view


def test_an_attack_that_needs_individual_updates_is_refused_a_sum(make_view: MakeView) -> None:
    refuse_weaker(Nosy(), make_view([SENTENCE]))
    with pytest.raises(ViewTooWeakError, match="Nosy needs individual updates"):
        refuse_weaker(Nosy(), make_view([SENTENCE, SENTENCE], contributors=("client-1", "client-2")))


def test_attacks_fit_the_protocol() -> None:
    assert isinstance(Nosy(), Attack)


@pytest.mark.parametrize("private", [False, True])
@pytest.mark.parametrize("contributors", [("client-1",), ("client-1", "client-2")])
def test_a_view_names_itself(make_view: MakeView, private: bool, contributors: tuple[str, ...]) -> None:
    name = make_view([SENTENCE], private=private, contributors=contributors).name
    assert name == ("individual" if len(contributors) == 1 else "sum") + ("-dp" if private else "")


def test_a_view_cannot_be_written_to_and_shows_no_values(make_view: MakeView) -> None:
    view = make_view([SENTENCE])
    with pytest.raises(ValueError, match="read-only"):
        view.observed[0] = 1.0
    assert "array" not in repr(view)


@pytest.mark.parametrize("broken", [np.zeros(3), None])
def test_a_view_refuses_what_is_no_update(make_view: MakeView, broken: np.ndarray | None) -> None:
    view = make_view([SENTENCE])
    wrong = np.full(view.observed.shape, np.nan) if broken is None else broken
    with pytest.raises(AttackError):
        replace(view, observed=wrong)


def test_a_score_needs_its_interval() -> None:
    with pytest.raises(AttackError):
        Score(metric="AUC", value=0.9, low=0.1, high=0.2, null=0.5)


def test_nothing_scores_what_it_does_not_know() -> None:
    with pytest.raises(AttackError, match="no rule"):
        score(object(), object())
