"""The examples of pages that explain numbers run, and print what the pages say."""

import doctest
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"


def test_the_numbers_that_are_explained_are_right() -> None:
    result = doctest.testfile(str(DOCS / "reading-the-numbers.md"), module_relative=False)
    assert result.attempted >= 12
    assert result.failed == 0
