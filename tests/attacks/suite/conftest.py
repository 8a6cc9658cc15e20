"""A tiny trained run whose recorded round and replays are attacked."""

from collections.abc import Iterator

import pytest

from fedpeft_secure.events import ignore
from fedpeft_secure.server.job import TrainedRun, training_run
from tests.fedpeft_secure.conftest import MakeConfig, deeper_llama, tiny_bert, tiny_config, tiny_llama, tiny_t5

__all__ = ["deeper_llama", "tiny_bert", "tiny_config", "tiny_llama", "tiny_t5"]


@pytest.fixture(scope="session")
def private_run(tiny_config: MakeConfig, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TrainedRun]:
    folder = tmp_path_factory.mktemp("runs") / "private"
    with training_run(tiny_config(), folder, resume=False, listen=ignore) as trained:
        yield trained


@pytest.fixture(scope="session")
def open_run(tiny_config: MakeConfig, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TrainedRun]:
    """Without privacy and without a secure sum; both factors are trained."""
    overrides = {"privacy.epsilon": "inf", "secure_sum.protocol": "plain", "attacks.show_text": "always"}
    folder = tmp_path_factory.mktemp("runs") / "open"
    with training_run(tiny_config(overrides), folder, resume=False, listen=ignore) as trained:
        yield trained
