import os
import subprocess
import sys
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import pytest

from fedpeft_secure import data
from fedpeft_secure.config import DataConfig
from fedpeft_secure.data.duplicates import normalise
from fedpeft_secure.errors import DataError
from fedpeft_secure.seeds import Seed


@pytest.fixture(scope="module")
def default() -> data.FederatedData:
    return data.load(DataConfig(), clients=8, seed=Seed(0))


def test_the_default_data(default: data.FederatedData) -> None:
    assert [len(client) for client in default.clients] == [811, 811] + [810] * 6
    assert (len(default.validation), len(default.test)) == (512, 1536)
    assert np.bincount(default.test.labels).tolist() == [768, 768]
    assert default.secrets == ((),) * 8
    assert default.public_text


def test_no_client_sees_a_public_text(default: data.FederatedData) -> None:
    private = {normalise(text) for client in default.clients for text in client.texts}
    validation, test = ({normalise(text) for text in part.texts} for part in (default.validation, default.test))
    assert not private & validation
    assert not private & test
    assert not validation & test


def test_the_public_parts_are_the_same_for_every_run_seed(default: data.FederatedData) -> None:
    other = data.load(DataConfig(), clients=3, seed=Seed(9))
    assert other.test.texts == default.test.texts
    assert other.validation.texts == default.validation.texts
    resplit = data.load(DataConfig(split_seed=1), clients=8, seed=Seed(0))
    assert set(resplit.test.texts) != set(default.test.texts)


def test_fingerprints_tell_the_clients_apart(default: data.FederatedData) -> None:
    assert len({data.fingerprint(client) for client in default.clients}) == 8


def test_a_file_dealt_by_column(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    rows = {"text": [f"word{index}" for index in range(90)], "label": [0, 1] * 45, "site": [1, 2, 3] * 30}
    pd.DataFrame(rows).to_parquet(path)
    config = DataConfig(name=str(path), partition={"scheme": "column", "column": "site"})
    loaded = data.load(config, clients=3, seed=Seed(0))
    site_of = dict(zip(rows["text"], rows["site"], strict=True))
    assert [{site_of[text] for text in client.texts} for client in loaded.clients] == [{1}, {2}, {3}]
    with pytest.raises(DataError, match=r"set clients.count = 3"):
        data.load(config, clients=4, seed=Seed(0))


def test_synthetic_is_generated() -> None:
    loaded = data.load(DataConfig(name="synthetic", synthetic={"secrets_per_client": 1}), clients=4, seed=Seed(0))
    assert [len(secrets) for secrets in loaded.secrets] == [1] * 4


def test_public_parts_that_leave_no_training_part_are_refused() -> None:
    with pytest.raises(DataError, match="leave under a tenth for training"):
        data.load(DataConfig(validation_fraction=0.46, test_fraction=0.46), clients=8, seed=Seed(0))


def test_a_fresh_process_loads_the_same_silently(default: data.FederatedData, tmp_path: Path) -> None:
    program = (
        "from fedpeft_secure import data; from fedpeft_secure.config import DataConfig;"
        "from fedpeft_secure.seeds import Seed;"
        "d = data.load(DataConfig(), clients=8, seed=Seed(0)); print(data.fingerprint(d.clients[1]).hex())"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "1", "HOME": str(tmp_path), "OMP_NUM_THREADS": "1"}
    environment["MPLCONFIGDIR"] = matplotlib.get_cachedir()  # flwr-datasets imports it, and new fonts make it talk
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.strip() == data.fingerprint(default.clients[1]).hex()
    assert done.stderr == ""
    assert not (tmp_path / ".flwr").exists()  # telemetry would leave its source id there
