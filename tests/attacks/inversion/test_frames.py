from attacks.inversion import Frame


def test_cues_are_public_and_may_still_be_words_of_a_text() -> None:
    frame = Frame(first=(1,), last=(2,), padding=0, tails=((2, 90, 91), (2, 90, 92)))
    assert frame.tokens == {0, 1, 2}
    assert frame.public == {0, 1, 2, 90, 91, 92}
