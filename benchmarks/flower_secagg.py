# ruff: noqa: ARG002 - the signatures are those of the peer
"""Runs Flower's SecAgg+ (flwr 1.40 or 1.41, from the package index) with all parties in this process.

    python flower_secagg.py --clients 30 --dim 100000 [--shares 31] [--drop-upload 3]

Prints one JSON line: seconds for all parties, bytes a client uploads, the largest error of the mean.
Used to measure a peer on the same machine, in the same minute, as our own secure sum.
"""

import argparse
import dataclasses
import json
import logging
import time

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Context, Error, Message, MetricRecord, RecordDict
from flwr.client.mod.secure_aggregation.secaggplus_mod import secaggplus_mod
from flwr.common import Code, FitIns, FitRes, Status, ndarrays_to_parameters, parameters_to_ndarrays
from flwr.compat.common import recorddict_compat as compat
from flwr.server.compat.legacy_context import LegacyContext
from flwr.server.strategy import FedAvg
from flwr.server.workflow.constant import MAIN_CONFIGS_RECORD, MAIN_PARAMS_RECORD, Key
from flwr.server.workflow.secure_aggregation.secaggplus_workflow import SecAggPlusWorkflow
from flwr.supercore.task_identity import TaskIdentity

logging.disable(logging.CRITICAL)
TaskIdentity.task_id = TaskIdentity.run_id = TaskIdentity.node_id = 1


@dataclasses.dataclass
class Proxy:
    node_id: int

    @property
    def cid(self) -> str:
        return str(self.node_id)


class Cohort:
    def num_available(self) -> int:
        return 0


class KeepSum(FedAvg):
    """FedAvg that keeps the aggregate it is handed."""

    def __init__(self, num_clients: int) -> None:
        super().__init__()
        self.num_clients, self.mean = num_clients, None

    def configure_fit(self, server_round, parameters, client_manager):
        return [(Proxy(i + 1), FitIns(parameters, {})) for i in range(self.num_clients)]

    def aggregate_fit(self, server_round, results, failures):
        self.mean = parameters_to_ndarrays(results[0][1].parameters)[0] if results else None
        return (results[0][1].parameters if results else None), {}


def new_context() -> Context:
    fields = {field.name for field in dataclasses.fields(Context)}
    values = {"run_id": 1, "node_id": 0, "node_config": {}, "state": RecordDict(), "run_config": {}}
    if "series_id" in fields:
        values["series_id"] = 0
    return Context(**values)


def copy_message(message: Message) -> Message:
    """A client's own copy of what the server sent, as the wire would make it."""
    content = RecordDict()
    for name, record in message.content.config_records.items():
        content.config_records[name] = ConfigRecord(
            {k: (list(v) if isinstance(v, list) else v) for k, v in record.items()}
        )
    for name, record in message.content.array_records.items():
        content.array_records[name] = ArrayRecord(dict(record.items()))
    for name, record in message.content.metric_records.items():
        content.metric_records[name] = MetricRecord(dict(record.items()))
    meta = message.metadata
    return Message(content, dst_node_id=meta.dst_node_id, message_type=meta.message_type, group_id=meta.group_id)


class InProcessGrid:
    def __init__(self, vectors, weights, drop):
        self.vectors, self.weights, self.drop = vectors, weights, drop
        self.contexts, self.stage, self.upload_bytes, self.errors = {}, -1, 0, 0

    def send_and_receive(self, messages, timeout=None):
        self.stage += 1
        return [self._answer(m) for m in messages if m.metadata.dst_node_id not in self.drop.get(self.stage, ())]

    def _answer(self, message):
        node = message.metadata.dst_node_id
        received = copy_message(message)
        received.metadata._src_node_id = 0

        def train(msg, _context):
            result = FitRes(
                Status(Code.OK, ""), ndarrays_to_parameters([self.vectors[node - 1]]), int(self.weights[node - 1]), {}
            )
            return Message(compat.fitres_to_recorddict(result, True), reply_to=msg)

        try:
            reply = secaggplus_mod(received, self.contexts.setdefault(node, new_context()), train)
        except Exception as error:  # a peer's own failure is a result here
            self.errors += 1
            reply = Message(Error(0, repr(error)), reply_to=received)
        reply.metadata._src_node_id = node
        if self.stage == 2 and node == 1 and not reply.has_error():
            self.upload_bytes = sum(
                sum(len(v) for v in value) if isinstance(value, list) and value and isinstance(value[0], bytes) else 8
                for record in reply.content.config_records.values()
                for value in record.values()
            )
        return reply


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=30)
    parser.add_argument("--dim", type=int, default=100_000)
    parser.add_argument("--shares", type=float, default=1.0, help="neighbours incl. self (odd), or 1.0 for all")
    parser.add_argument("--drop-upload", type=int, default=0, help="clients that vanish before uploading")
    args = parser.parse_args()

    rng = np.random.default_rng(0)
    vectors, weights = [rng.normal(0, 1, args.dim) for _ in range(args.clients)], [100] * args.clients
    gone = set(range(2, 2 + args.drop_upload))
    grid, strategy, context = InProcessGrid(vectors, weights, {2: gone, 3: gone}), KeepSum(args.clients), new_context()
    context.state.config_records[MAIN_CONFIGS_RECORD] = ConfigRecord({Key.CURRENT_ROUND: 1})
    context.state.array_records[MAIN_PARAMS_RECORD] = compat.parameters_to_arrayrecord(
        ndarrays_to_parameters([np.zeros(args.dim)]), True
    )
    shares = args.shares if args.shares <= 1 else int(args.shares)
    threshold = 0.5 if shares == 1.0 else shares // 2 + 1

    start, failure = time.perf_counter(), None
    try:
        SecAggPlusWorkflow(shares, threshold)(grid, LegacyContext(context, strategy=strategy, client_manager=Cohort()))
    except Exception as error:
        failure = repr(error)
    seconds = time.perf_counter() - start

    alive = [i for i in range(args.clients) if i + 1 not in gone]
    error = (
        None
        if strategy.mean is None
        else float(np.abs(strategy.mean - np.mean([vectors[i] for i in alive], axis=0)).max())
    )
    print(
        json.dumps(
            {
                "peer": "flower-secagg+",
                "clients": args.clients,
                "dim": args.dim,
                "seconds": round(seconds, 3),
                "upload_bytes": grid.upload_bytes,
                "max_error": error,
                "client_errors": grid.errors,
                "failure": failure,
            }
        )
    )


if __name__ == "__main__":
    main()
