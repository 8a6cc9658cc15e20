from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from attacks import AttackError
from attacks.audit import exposure, secret_exposures
from fedpeft_secure.adapters import AdapterState
from tests.attacks.audit.conftest import OpenFederation


def test_known_answers() -> None:
    assert exposure(rank=1, candidates=16) == 4.0
    assert exposure(rank=4, candidates=16) == 2.0
    assert exposure(rank=16, candidates=16) == 0.0
    for rank in (0, 17):
        with pytest.raises(AttackError):
            exposure(rank=rank, candidates=16)


def test_planted_codes_are_ranked_beside_codes_that_are_nowhere(federation: OpenFederation) -> None:
    parties = federation({"data.synthetic.secrets_per_client": 4})
    rng = np.random.default_rng(0)
    moved = AdapterState(
        {name: value + 0.3 * rng.normal(size=value.shape) for name, value in parties.start.values.items()}
    )
    found = secret_exposures(parties, moved, candidates=16, rng=rng)
    assert (found.secrets, found.most) == (20, 4.0)
    assert 0 <= found.mean <= 4.0
    assert found.mean < 3.0, "a model that was never trained knows no code"
    untouched = secret_exposures(parties, parties.start, candidates=16, rng=rng)
    assert (untouched.mean, untouched.null) == (0.0, 0.0), "ties count against the attacker"


def test_one_planted_code_has_no_interval(federation: OpenFederation) -> None:
    parties = federation({"data.synthetic.secrets_per_client": 1})
    first, *others = parties.data.secrets
    alone = replace(parties, data=replace(parties.data, secrets=(first, *(() for _ in others))))
    found = secret_exposures(alone, parties.start, candidates=16, rng=np.random.default_rng(0))
    assert (found.secrets, found.low, found.high) == (1, None, None)
    several = secret_exposures(parties, parties.start, candidates=16, rng=np.random.default_rng(0))
    assert (several.low, several.high) == (0.0, 0.0)


def test_nothing_planted_is_refused(federation: OpenFederation, tmp_path: Path) -> None:
    parties = federation()
    with pytest.raises(AttackError, match="secrets_per_client"):
        secret_exposures(parties, parties.start, candidates=16, rng=np.random.default_rng(0))
