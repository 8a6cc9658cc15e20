from typing import Any

import datasets
import huggingface_hub
import pytest
from huggingface_hub.utils import are_progress_bars_disabled, enable_progress_bars

from fedpeft_secure.data import hub
from fedpeft_secure.data.hub import read_hub
from fedpeft_secure.errors import DataError


@pytest.fixture
def online(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """A hub that answers; returns the arguments of the downloads."""
    calls: list[Any] = []
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])})

    def load_dataset(*args: Any, **options: Any) -> datasets.Dataset:
        calls.append((args, options, datasets.is_progress_bar_enabled(), are_progress_bars_disabled()))
        return datasets.Dataset.from_dict({"text": ["a", "b"], "label": [1, 0]}, features=features)

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", lambda *_, **__: None)
    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    return calls


def test_the_training_split_and_its_class_names(online: list[Any]) -> None:
    table, names = read_hub("a/b", label="label", remedy="")
    assert table.to_dict("list") == {"text": ["a", "b"], "label": [1, 0]}
    assert names == ("no", "yes")
    assert online[0][:2] == (("a/b",), {"split": "train"})


def test_columns_without_declared_names(online: list[Any]) -> None:
    assert read_hub("a/b", label="text", remedy="")[1] is None
    assert read_hub("a/b", label="missing", remedy="")[1] is None


def test_progress_bars_are_off_during_the_download_only(online: list[Any]) -> None:
    enable_progress_bars()  # whatever earlier tests left
    before = (datasets.is_progress_bar_enabled(), are_progress_bars_disabled())
    read_hub("a/b", label="label", remedy="")
    assert online[0][2:] == (False, True)
    assert (datasets.is_progress_bar_enabled(), are_progress_bars_disabled()) == before == (True, False)


def test_out_of_reach_is_one_line_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch, outside_attempts: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(hub, "_cached", lambda name: False)
    with pytest.raises(DataError, match=r"^data.name: 'a/b' is no file, nor a data set .*: do this$"):
        read_hub("a/b", label="label", remedy="do this")
    assert set(outside_attempts) <= {"huggingface.co"}  # none where the environment already says offline
    outside_attempts.clear()
    assert capfd.readouterr() == ("", "")


def test_an_earlier_download_is_used_without_network(
    online: list[Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setattr(hub, "_reachable", lambda name: False)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    with pytest.raises(DataError):
        read_hub("a/b", label="label", remedy="")
    (tmp_path / "a___b").mkdir()
    assert len(read_hub("a/b", label="label", remedy="")[0]) == 2


def test_a_broken_download_is_one_line(online: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise ValueError('Unknown split "train".\nShould be one of [test].')

    monkeypatch.setattr(datasets, "load_dataset", broken)
    with pytest.raises(DataError, match=r"'a/b' cannot be read \(Unknown split \"train\"\.\): do this$"):
        read_hub("a/b", label="label", remedy="do this")
