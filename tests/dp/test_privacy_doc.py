"""The examples of docs/privacy.md run."""

import doctest
from pathlib import Path

DOCUMENT = Path(__file__).parents[2] / "docs" / "privacy.md"


def test_examples_run():
    result = doctest.testfile(str(DOCUMENT), module_relative=False)
    assert result.attempted >= 4
    assert result.failed == 0
