"""docs/methods.md: its figures are what is counted, and it names every method and setting."""

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from fedpeft_secure import methods
from fedpeft_secure.config import PeftTable


def script() -> ModuleType:
    """`benchmarks/method_parameters.py`, which is no package."""
    path = Path(__file__).parents[3] / "benchmarks" / "method_parameters.py"
    spec = importlib.util.spec_from_file_location("method_parameters", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def counted() -> ModuleType:
    return script()


def test_the_table_is_what_is_counted(counted: ModuleType) -> None:
    pre_trained = counted.base()
    rows = [counted.row(pre_trained, method) for method in methods.METHODS]
    assert counted.documented() == counted.table(rows)
    by_name = {row.method: row for row in rows}
    assert by_name["lora"].full / by_name["lora"].trained > 300
    lora = by_name["lora"]
    assert (lora.full - lora.head) / (lora.sent - lora.head) > 600
    assert lora.full / lora.sent == pytest.approx(599.6, abs=0.05)


def test_every_method_and_setting_is_named(counted: ModuleType) -> None:
    text = counted.DOCUMENT.read_text(encoding="utf-8")
    first_cells = " ".join(re.findall(r"^\| (`[^|]*`) \|", text, flags=re.MULTILINE))
    assert set(re.findall(r"`(\w+)`", first_cells)) >= set(methods.METHODS)
    for setting in set(PeftTable.model_fields) - {"method"}:
        assert f"`{setting}`" in text or f"`peft.{setting} " in text, setting
