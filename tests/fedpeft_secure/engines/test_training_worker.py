"""What a worker does, without its process; processes are in test_training_workers."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from fedpeft_secure.aggregation.context import RoundContext
from fedpeft_secure.clients import trainer as trainer_module
from fedpeft_secure.engines.training_orders import DONE, FAILED, REFUSED, Seat, TrainingOrder, unpack_trained
from fedpeft_secure.engines.training_worker import obey, take_seat
from fedpeft_secure.plans import pack_request
from fedpeft_secure.server.federation import Federation


def test_a_worker_finds_the_update_of_the_process_that_asks_to_the_bit(
    make_federation: Callable[..., Federation], tmp_path: Path
) -> None:
    federation = make_federation()
    plan, state = federation.agreed, federation.start
    seat = Seat(
        config=federation.config.to_dict(),
        run=federation.run,
        ledger_path=str(tmp_path / "elsewhere.sqlite"),
        clients=["client-2", "client-4"],
        threads=torch.get_num_threads(),
    )
    trainers = take_seat(Seat.model_validate_json(seat.model_dump_json()))
    assert sorted(trainers) == seat.clients
    request = pack_request(plan, state)
    requests = {"client-2": request, "client-4": pack_request(plan, state, start=federation.start)}
    for name in reversed(seat.clients):  # the order in which clients train changes nothing
        reply = obey(trainers, TrainingOrder(number=1, client=name, request=requests[name]))
        assert reply.kind == DONE
        found = unpack_trained(reply.body).delta
        context = RoundContext(plan=plan, spec=federation.backbone.spec, state=state)
        here = federation.clients[name].trainer.train(context).delta
        assert sorted(found) == sorted(here)
        assert all(found[key].tobytes() == here[key].tobytes() for key in here)
        assert any(np.any(value) for value in here.values())
    refused = obey(trainers, TrainingOrder(number=2, client="client-2", request=request[:-4] + b"\0\0\x80\x3f"))
    assert (refused.number, refused.kind) == (2, REFUSED)
    assert b"model other than" in refused.body
    with pytest.raises(KeyError):
        obey(trainers, TrainingOrder(number=3, client="client-1", request=request))
    assert not (tmp_path / "elsewhere.sqlite").exists(), "a worker opens no ledger"


def test_a_training_that_fails_on_its_examples_is_answered(
    make_federation: Callable[..., Federation], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who asked charges the client for it; a process that just ended would be taken for another mishap."""
    federation = make_federation()

    def fail(*_: object) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(trainer_module, "train_locally", fail)
    trainers = {"client-1": federation.clients["client-1"].trainer}
    request = pack_request(federation.agreed, federation.start)
    reply = obey(trainers, TrainingOrder(number=1, client="client-1", request=request))
    assert (reply.kind, reply.body) == (FAILED, b"out of memory")
