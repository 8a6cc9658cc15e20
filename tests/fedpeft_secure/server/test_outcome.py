import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from evaluations.metrics import classification
from fedpeft_secure.engines.in_process import InProcess
from fedpeft_secure.events import ignore
from fedpeft_secure.result import Result
from fedpeft_secure.rundir import RunDirectory
from fedpeft_secure.server.checkpoints import Progress
from fedpeft_secure.server.federation import Federation
from fedpeft_secure.server.loop import train_rounds
from fedpeft_secure.server.outcome import build_result, peak_memory_bytes

MakeFederation = Callable[..., Federation]
SECONDS = {"setup": 1.0, "rounds": 5.0, "test": 0.25}


def trained(federation: Federation, folder: Path) -> Progress:
    first = Progress(rounds_done=0, state=federation.start, optimizer=federation.optimizer, records=())
    directory = RunDirectory(root=folder)
    return train_rounds(federation, directory, first, engine=InProcess(), record=lambda *_: None, listen=ignore)


def result_of(federation: Federation, progress: Progress) -> Result:
    logits = np.zeros((len(federation.test), 2))
    return build_result(
        federation,
        progress,
        measured=classification(logits, np.asarray(federation.test.labels)),
        attacks=(),
        seconds=SECONDS,
        examples_per_second=12.5,
    )


def base_values(federation: Federation) -> int:
    """The model with its head, without what was added to it."""
    named = federation.backbone.model.named_parameters()
    return sum(value.numel() for name, value in named if "lora_" not in name and "modules_to_save" not in name)


@pytest.fixture
def finished(make_federation: MakeFederation, tmp_path: Path) -> Callable[..., tuple[Federation, Progress, Result]]:
    def make(overrides: dict[str, object] | None = None) -> tuple[Federation, Progress, Result]:
        federation = make_federation(overrides)
        progress = trained(federation, tmp_path)
        return federation, progress, result_of(federation, progress)

    return make


def test_the_result_survives_its_file(finished: Callable[..., tuple[Federation, Progress, Result]]) -> None:
    for overrides in ({}, {"privacy.epsilon": "inf"}):
        _, _, result = finished(overrides)
        assert Result.from_json(result.to_json()) == result


def test_bytes_are_means_over_rounds_and_compared_with_the_whole_model(
    finished: Callable[..., tuple[Federation, Progress, Result]],
) -> None:
    federation, progress, result = finished()
    sent = result.communication
    assert sent.upload_bytes == round(np.mean([record.upload_bytes for record in progress.records]))
    assert sent.parameters_sent == federation.trained.size
    assert sent.full_finetuning_bytes == 4 * base_values(federation)
    assert sent.upload_ratio == pytest.approx(sent.full_finetuning_bytes / sent.upload_bytes)


def test_a_round_that_failed_sent_little_and_does_not_flatter_the_mean(
    finished: Callable[..., tuple[Federation, Progress, Result]],
) -> None:
    federation, progress, result = finished()
    everybody = federation.config.client_names
    failure = {"survivors": (), "dropped": everybody, "failure": "cut off", "upload_bytes": 3}
    failed = progress.records[0].model_copy(update=failure)
    again = result_of(federation, replace(progress, records=(failed, progress.records[1])))
    assert again.communication.upload_bytes == progress.records[1].upload_bytes
    assert again.setup.warnings == ("1 rounds failed in the secure sum and changed nothing; their charges stand",)
    assert result.setup.warnings == ()


def test_seconds_add_up_over_the_rounds(finished: Callable[..., tuple[Federation, Progress, Result]]) -> None:
    _, progress, result = finished()
    seconds = result.compute.seconds
    phases = {phase for record in progress.records for phase in record.seconds}
    assert set(seconds) == {"setup", "test", "total"} | phases
    assert seconds["total"] == pytest.approx(sum(value for name, value in seconds.items() if name != "total"))
    assert seconds["training"] == pytest.approx(sum(record.seconds["training"] for record in progress.records))


def test_every_client_has_a_row_within_its_budget(
    finished: Callable[..., tuple[Federation, Progress, Result]],
) -> None:
    federation, _, result = finished({"privacy.per_client": {"client-2": 2.0}})
    rows = {row.client: row for row in result.privacy.clients}
    assert tuple(rows) == federation.config.client_names
    assert (rows["client-2"].epsilon_budget, rows["client-1"].epsilon_budget) == (2.0, 8.0)
    assert all(0 < row.epsilon_spent <= row.epsilon_budget for row in rows.values())
    assert all((row.steps, row.delta, row.sample_rate) == (2, 1e-5, 0.25) for row in rows.values())
    assert result.privacy.ledger.charges == 10
    assert result.privacy.noise == "simulation"


def test_without_privacy_nothing_is_promised(finished: Callable[..., tuple[Federation, Progress, Result]]) -> None:
    _, _, result = finished({"privacy.epsilon": "inf"})
    assert (result.privacy.private, result.privacy.noise, result.privacy.aggregate) == (False, "none", None)
    assert all(math.isinf(row.epsilon_spent) for row in result.privacy.clients)


def test_memory_is_counted_in_bytes() -> None:
    assert 50 * 2**20 < peak_memory_bytes() < 2**40
