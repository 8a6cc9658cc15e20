"""Every method on every architecture passes the per-example contract, and docs/privacy.md says what is measured."""

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from fedpeft_secure import methods
from fedpeft_secure.clients.batches import split_batch
from fedpeft_secure.errors import ModelError
from tests.contracts.per_example import TOLERANCE, Case, PerExampleContract


def script() -> ModuleType:
    """`benchmarks/per_example_gradients.py`, which is no package."""
    path = Path(__file__).parents[3] / "benchmarks" / "per_example_gradients.py"
    spec = importlib.util.spec_from_file_location("per_example_gradients", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


TABLE = script()
NOT_THERE = {
    *(("BitFit", model) for model in ("T5", "T5, in words", "Llama")),
    *(("head only", model) for model in TABLE.IN_WORDS),
    ("prefix tuning", "Llama"),
}
SINGLY = {("full fine-tuning", model) for model in ("BERT", "DistilBERT", "T5")}
"""Their positions are looked up once for a whole batch, and T5's norm has no rule."""

CELLS = [(method, model) for method in TABLE.METHODS for model in TABLE.MODELS if model not in TABLE.IN_WORDS]
CELLS += [("LoRA", model) for model in TABLE.IN_WORDS]  # the others in test_label_words.py
CELL = re.compile(r"≤ 1e(-\d+), (\w+)")


class TestMethods(PerExampleContract):
    @pytest.fixture(params=[cell for cell in CELLS if cell not in NOT_THERE], ids="-".join)
    def case(self, request):
        found = TABLE.adapted(*request.param)
        return Case(
            model=found.model,
            batch=found.batch,
            loss=found.loss,
            strategy="microbatches" if request.param in SINGLY else "hooks",
            split=split_batch,
            rules=methods.rules_for(found.model),
        )


@pytest.mark.parametrize(("method", "model"), sorted(NOT_THERE))
def test_what_is_not_there_is_refused(method: str, model: str) -> None:
    with pytest.raises(ModelError, match=r"^peft.method"):
        TABLE.adapted(method, model)


def test_the_document_says_what_is_measured() -> None:
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in TABLE.documented().splitlines()]
    assert rows[0] == ["", *TABLE.MODELS]
    assert [row[0] for row in rows[2:]] == list(TABLE.METHODS)
    for row in rows[2:]:
        for model, text in zip(TABLE.MODELS, row[1:], strict=True):
            measured = TABLE.measure(row[0], model)
            if measured.missing:
                assert text == str(measured)
                continue
            exponent, strategy = CELL.fullmatch(text).groups()
            assert strategy == measured.strategy
            # Another processor rounds differently: a factor of ten, and never above what is claimed at all.
            assert measured.deviation <= 10 * 10 ** int(exponent)
            assert 10 ** int(exponent) <= TOLERANCE
