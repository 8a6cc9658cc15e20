from dataclasses import replace

import numpy as np
import pytest

from attacks import AttackError, NotApplicableError
from attacks.inversion import Dictionary, SpanInversion, SpecialTokens, TextGuess, token_log_prior
from attacks.inversion.evidence import Evidence
from fedpeft_secure.adapters import Role
from tests.attacks.conftest import VOCABULARY, MakeView

SHORT = [1, 40, 7, 123, 2]
LONG = [1, *range(20, 29), 77, 2]
B_ONLY = (Role.LORA_B,)


@pytest.fixture
def attack(dictionary: Dictionary, special: SpecialTokens) -> SpanInversion:
    return SpanInversion(
        dictionary=dictionary,
        special=special,
        log_prior=token_log_prior([], vocabulary=VOCABULARY),
        relative_precision=1e-7,
    )


def run(attack: SpanInversion, view: object) -> TextGuess:
    return attack.run(view, rng=np.random.default_rng(0))  # type: ignore[arg-type]


def content(sentence: list[int]) -> frozenset[tuple[int, int]]:
    return frozenset((p, t) for p, t in enumerate(sentence) if t > 2)


def test_one_sentence_comes_back_in_order_through_b_alone(attack: SpanInversion, make_view: MakeView) -> None:
    guess = run(attack, make_view([SHORT], roles=B_ONLY))
    assert guess.token_budget == 7
    assert guess.sentence == tuple(SHORT[1:-1])
    assert guess.claimed == content(SHORT)
    assert guess.directions == 2 * len(SHORT)


def test_a_longer_sentence_comes_back_through_a(attack: SpanInversion, make_view: MakeView) -> None:
    guess = run(attack, make_view([LONG]))
    assert guess.token_budget == 16
    assert guess.sentence == tuple(LONG[1:-1])
    assert guess.claimed == content(LONG)


def test_a_sum_within_the_budget_gives_away_both_sentences(attack: SpanInversion, make_view: MakeView) -> None:
    """A secure sum alone hides whose words they are, not the words."""
    other = [1, 55, 56, 2]
    guess = run(attack, make_view([SHORT, other], contributors=("client-1", "client-2")))
    assert content(SHORT) | content(other) <= guess.ranked


def test_over_the_budget_nothing_is_claimed(attack: SpanInversion, make_view: MakeView) -> None:
    for length in (8, 10, 20):
        sentence = [1, *range(30, 28 + length), 2]
        assert run(attack, make_view([sentence], roles=B_ONLY, seed=length)).claimed == frozenset()
    crowd = [[1, *range(start, start + 10), 2] for start in range(20, 100, 10)]
    guess = run(attack, make_view(crowd, contributors=("client-1", "client-2")))
    assert guess.claimed == frozenset()


def test_rounding_at_a_known_step_is_survived(attack: SpanInversion, make_view: MakeView) -> None:
    for seed in range(5):
        guess = run(attack, make_view([SHORT], roles=B_ONLY, rounding_stddev=0.02, seed=seed))
        assert guess.sentence == tuple(SHORT[1:-1])


def test_the_noise_must_be_told(attack: SpanInversion, make_view: MakeView, dictionary: Dictionary) -> None:
    """The same bytes with an unknown noise look like a full row space: the whitening is what makes it work."""
    noisy = make_view([SHORT], roles=B_ONLY, rounding_stddev=0.02)
    assert run(attack, replace(noisy, rounding_stddev=0.0)).sentence != tuple(SHORT[1:-1])


def test_dp_noise_leaves_nothing(attack: SpanInversion, make_view: MakeView) -> None:
    found = 0
    for seed in range(10):
        guess = run(attack, make_view([SHORT], noise_stddev=200.0, private=True, seed=seed))
        assert guess.claimed == frozenset()
        found += len(guess.ranked & content(SHORT))
    assert found <= 1


def test_an_update_without_any_gradient_says_nothing(attack: SpanInversion, make_view: MakeView) -> None:
    view = make_view([SHORT])
    guess = run(attack, replace(view, observed=np.zeros(view.observed.shape)))
    assert (guess.ranked, guess.claimed, guess.sentence, guess.directions) == (frozenset(), frozenset(), (), 0)


def test_modules_of_later_layers_are_not_enough(attack: SpanInversion, make_view: MakeView) -> None:
    view = make_view([SHORT], roles=B_ONLY)
    entries = tuple(replace(e, module=e.module.replace("layer.0", "layer.3")) for e in view.trained.entries)
    with pytest.raises(NotApplicableError, match=r"peft\.targets"):
        run(attack, replace(view, trained=replace(view.trained, entries=entries)))


def test_the_prior_has_one_entry_a_token(attack: SpanInversion) -> None:
    with pytest.raises(AttackError):
        replace(attack, log_prior=np.zeros(3))


def test_public_texts_raise_the_prior_of_their_words() -> None:
    prior = token_log_prior([[5, 5, 6]], vocabulary=10)
    assert np.exp(prior).sum() == pytest.approx(1.0)
    assert prior[5] > prior[6] > prior[7] == pytest.approx(np.log(0.05))


def certain(sentence: list[int], positions: int) -> Evidence:
    """Evidence that speaks for exactly these tokens."""
    log_ratio = np.full((VOCABULARY, positions), -50.0)
    for position, token in enumerate(sentence):
        log_ratio[token, position] = 50.0
    return Evidence(log_ratio=log_ratio, consistent=log_ratio > 0, directions=8, freedom=8)


@pytest.mark.parametrize(("length", "claims"), [(7, 5), (8, 0)])
def test_a_text_longer_than_the_budget_is_not_claimed_whatever_fits(
    attack: SpanInversion, make_view: MakeView, monkeypatch: pytest.MonkeyPatch, length: int, claims: int
) -> None:
    sentence = [1, *range(30, 28 + length), 2]
    monkeypatch.setattr(
        "attacks.inversion.span.weigh", lambda dictionary, *_, **__: certain(sentence, dictionary.positions)
    )
    guess = run(attack, make_view([SHORT], roles=B_ONLY))
    assert guess.sentence == tuple(sentence[1:-1])
    assert len(guess.claimed) == claims


def test_a_word_does_not_hide_others_where_only_its_shadow_falls(
    attack: SpanInversion, make_view: MakeView, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A strong word fits passably at a neighbour's position, better than the weak word that stands there."""
    found = certain([1, 40, 41, 2], 14)
    found.log_ratio[40, 2], found.log_ratio[41, 2] = 30.0, 10.0
    monkeypatch.setattr("attacks.inversion.span.weigh", lambda *_, **__: found)
    assert run(attack, make_view([SHORT], roles=B_ONLY)).sentence == (40, 41)


def test_a_repeated_word_that_fits_twice_is_no_shadow(
    attack: SpanInversion, make_view: MakeView, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = certain([1, 40, 40, 2], 14)
    found.log_ratio[40, 2], found.log_ratio[41, 2] = 30.0, 10.0
    monkeypatch.setattr("attacks.inversion.span.weigh", lambda *_, **__: found)
    assert run(attack, make_view([SHORT], roles=B_ONLY)).sentence == (40, 40)
