import re
from itertools import chain

import numpy as np
import pytest

from fedpeft_secure.data.grammar import load_grammar

GRAMMAR = load_grammar()
RNG_SEED = 0


def test_eight_classes_and_topics() -> None:
    assert GRAMMAR.class_names[:2] == ("praise", "complaint")
    assert len(set(GRAMMAR.class_names)) == len(GRAMMAR.cores) == len(GRAMMAR.topic_words) == 8


def test_every_slot_has_words_and_every_word_list_a_slot() -> None:
    templates = [*GRAMMAR.openings, *GRAMMAR.closings, *chain(*GRAMMAR.cores)]
    slots = {slot for template in templates for slot in re.findall(r"\{(\w+)\}", template)}
    assert slots == {*GRAMMAR.words, "place", "aspect"}


def test_no_list_repeats_itself() -> None:
    lists = [*GRAMMAR.words.values(), *(words for topic in GRAMMAR.topic_words for words in topic.values())]
    lists += [*GRAMMAR.cores, GRAMMAR.openings]
    assert all(len(set(words)) == len(words) for words in lists)


def test_praise_and_complaint_mirror_each_other() -> None:
    swap = {"{good}": "{bad}", "{bad}": "{good}", "feared": "hoped"}
    praise, complaint = GRAMMAR.cores[:2]
    mirrored = [re.sub(r"\{good\}|\{bad\}|feared", lambda found: swap[found.group()], core) for core in praise]
    assert mirrored == list(complaint)


def test_openings_and_closings_do_not_tell_the_class() -> None:
    assert not any(slot in text for text in (*GRAMMAR.openings, *GRAMMAR.closings) for slot in ("{good}", "{bad}"))


@pytest.mark.parametrize("label", range(8))
@pytest.mark.parametrize("topic", range(8))
def test_messages_are_complete_sentences_on_their_topic(label: int, topic: int) -> None:
    rng = np.random.default_rng(RNG_SEED)
    for message in (GRAMMAR.write(label=label, topic=topic, rng=rng) for _ in range(20)):
        assert not set(message) & set("{}")
        assert message == message.strip()
        assert message[-1] in ".?"
        assert "  " not in message
        assert any(aspect in message for aspect in GRAMMAR.topic_words[topic]["aspect"])


def test_messages_repeat_with_the_generator_and_hardly_otherwise() -> None:
    first = [GRAMMAR.write(label=0, topic=0, rng=np.random.default_rng(5)) for _ in range(2)]
    assert first[0] == first[1]
    rng = np.random.default_rng(RNG_SEED)
    assert len({GRAMMAR.write(label=0, topic=0, rng=rng) for _ in range(500)}) >= 498
