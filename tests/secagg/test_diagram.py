from pathlib import Path

import pytest

from secagg.diagram import BEGIN, END, TWO_PARTIES, generated_section, refreshed, state_diagram
from secagg.transitions import CURIOUS, MALICIOUS, ONE_MESSAGE, THIRD_PARTY
from tests.secagg.rounds import make_round

PAGE = Path(__file__).parents[2] / "docs" / "secure-sum.md"


@pytest.mark.parametrize(("malicious", "table"), [(True, MALICIOUS), (False, CURIOUS)])
def test_the_table_is_what_a_client_does(malicious, table):
    round_, seen, requests = make_round(malicious=malicious), {}, ()
    while round_.server.result is None:
        before = round_.clients["client-2"].state
        phase = next((e.phase for e in requests if e.recipient == "client-2"), "")
        sent = round_.answers(requests)
        (answer,) = (e.phase for e in sent if e.sender == "client-2")
        seen[before, phase] = (answer, round_.clients["client-2"].state)
        round_.server, requests = round_.server.step(sent)
    assert seen == dict(table)


def test_the_page_shows_the_tables():
    page = PAGE.read_text()
    assert generated_section() in page
    assert refreshed(page) == page
    assert refreshed(page.replace("Uploaded --> Confirmed", "Uploaded --> Done")) == page


def test_the_page_of_the_sums_in_one_message_shows_theirs():
    page = (PAGE.parent / "one-message-sums.md").read_text()
    assert generated_section(TWO_PARTIES) in page
    assert refreshed(page, TWO_PARTIES) == page
    assert refreshed(page.replace("Waiting --> Done", "Waiting --> Lost"), TWO_PARTIES) == page


def test_every_transition_is_drawn():
    for table in (MALICIOUS, CURIOUS, ONE_MESSAGE, THIRD_PARTY):
        drawn = state_diagram(table)
        assert all(f"{state} --> {after}: " in drawn for (state, _), (_, after) in table.items())
        assert drawn.count("a check fails") == len(table)


def test_a_page_without_markers():
    for page in ("nothing", f"{BEGIN} only", f"{END} only"):
        with pytest.raises(ValueError, match="unpack"):
            refreshed(page)
