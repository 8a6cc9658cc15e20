import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fedpeft_secure.data import duplicates
from fedpeft_secure.data.duplicates import duplicate_clusters, normalise

SENTENCE = "the quick brown fox jumps over the lazy dog while it rains in the old town"


def test_normalise_keeps_words_only() -> None:
    assert normalise("  A ﬁne — (really) FINE  film!! ") == "a fine really fine film"


def test_same_words_are_one_cluster() -> None:
    clusters = duplicate_clusters(("A good film.", "something else entirely", '" a good  film "'))
    assert clusters[0] == clusters[2] != clusters[1]


def test_one_changed_word_in_seven_is_a_near_duplicate_but_in_six_is_not() -> None:
    for length, clusters in ((7, 1), (6, 2)):
        words = SENTENCE.split()[:length]
        pair = (" ".join(words), " ".join([*words[:3], "cat", *words[4:]]))
        assert len(set(duplicate_clusters(pair).tolist())) == clusters


def test_one_changed_word_in_sixteen_is_a_near_duplicate_but_four_are_not() -> None:
    near = SENTENCE.replace("lazy", "sleepy")
    far = SENTENCE.replace("lazy", "sleepy").replace("brown", "red").replace("rains", "snows").replace("old", "new")
    clusters = duplicate_clusters((SENTENCE, near, far))
    assert clusters[0] == clusters[1] != clusters[2]


def test_similarity_is_the_bound() -> None:
    pair = ("a b c d", "a b c e")  # 3 of 7 bigrams shared
    assert len(set(duplicate_clusters(pair, similarity=3 / 7).tolist())) == 1
    assert len(set(duplicate_clusters(pair, similarity=3 / 7 + 0.01).tolist())) == 2


def test_texts_without_words_stand_for_themselves() -> None:
    clusters = duplicate_clusters(("!!!", "???", "!!!"))
    assert clusters[0] == clusters[2] != clusters[1]


@given(
    st.lists(st.lists(st.sampled_from("abcde"), min_size=1, max_size=8).map(" ".join), min_size=1, max_size=25),
    st.sampled_from([0.3, 0.5, 0.7, 1.0]),
)
def test_equals_comparing_every_pair(texts: list[str], similarity: float) -> None:
    expected = _clusters_by_brute_force(texts, similarity=similarity)
    found = duplicate_clusters(tuple(texts), similarity=similarity)
    assert [[bool(a == b) for b in found] for a in found] == [[a == b for b in expected] for a in expected]


def test_blocks_change_nothing(monkeypatch) -> None:
    rng = np.random.default_rng(0)
    texts = tuple(" ".join(rng.choice(list("abcdefg"), size=6)) for _ in range(150))
    whole = duplicate_clusters(texts)
    monkeypatch.setattr(duplicates, "_BLOCK", 16)
    assert duplicate_clusters(texts).tolist() == whole.tolist()
    assert 1 < len(set(whole.tolist())) < 150


def _clusters_by_brute_force(texts: list[str], *, similarity: float) -> list[int]:
    pairs = [set(zip(["", *text.split()], [*text.split(), ""], strict=True)) for text in texts]
    clusters = list(range(len(texts)))
    for i, left in enumerate(pairs):
        for j, right in enumerate(pairs):
            if len(left & right) >= similarity * len(left | right) - 1e-9:
                clusters = [clusters[i] if cluster == clusters[j] else cluster for cluster in clusters]
    return clusters
