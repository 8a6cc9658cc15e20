"""Tiny configurations to audit."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

import dp
from fedpeft_secure.config import Config
from fedpeft_secure.events import ignore
from fedpeft_secure.server.federation import Federation, build_federation
from tests.fedpeft_secure.conftest import MakeConfig, tiny_bert, tiny_config, tiny_t5

__all__ = ["tiny_bert", "tiny_config", "tiny_t5"]

AuditConfig = Callable[..., Config]
OpenFederation = Callable[..., Federation]


@pytest.fixture(scope="session")
def audit_config(tiny_config: MakeConfig) -> AuditConfig:
    """ε = 1 over four rounds, with enough coordinates for a few hundred canaries."""

    def make(overrides: Mapping[str, Any] | None = None) -> Config:
        given = {
            "peft.rank": 8,
            "aggregation.strategy": "fedit",
            "training.rounds": 4,
            "training.sample_rate": 0.5,
            "training.nominal_batch": 100,
            "training.physical_batch": 64,
            "privacy.epsilon": 1.0,
        }
        return tiny_config({**given, **(overrides or {})})

    return make


@pytest.fixture
def federation(audit_config: AuditConfig, tmp_path: Path, request: pytest.FixtureRequest) -> OpenFederation:
    """Opens all parties of a run with a ledger of their own."""

    def make(overrides: Mapping[str, Any] | None = None) -> Federation:
        path = tmp_path / f"ledger-{len(list(tmp_path.iterdir()))}.sqlite"
        ledger = dp.Ledger.open(path)
        request.addfinalizer(ledger.close)
        config = audit_config(overrides)
        return build_federation(config, run="audit", ledger=ledger, ledger_path=path, listen=ignore)

    return make
