"""What Flower costs: seconds and bytes of an exchange of a deployed run, beside the same run in one process.

    python benchmarks/flower_overhead.py --run /var/lib/fedpeft/run-7 --journal /var/log/fedpeft.jsonl

The run is one that the server of docs/deployment.md has finished; its configuration is played again in this process.
"""

import argparse
import json
import tempfile
from pathlib import Path

from fedpeft_secure.engines.in_process import InProcess
from fedpeft_secure.events import ignore
from fedpeft_secure.rundir import RunDirectory, open_run, read_rounds
from fedpeft_secure.server.job import training_run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="run directory of the server")
    parser.add_argument("--journal", type=Path, required=True, help="its journal")
    arguments = parser.parse_args()
    lines = [json.loads(line) for line in arguments.journal.read_text("utf-8").splitlines()]
    carried = next(line for line in reversed(lines) if line["event"] == "finished")
    there = read_rounds(RunDirectory(root=arguments.run))
    _, config = open_run(arguments.run)
    config = config.model_copy(update={"privacy": config.privacy.model_copy(update={"ledger": "run"})})
    with (
        tempfile.TemporaryDirectory() as folder,
        training_run(config, Path(folder) / "run", resume=False, listen=ignore, engine=InProcess()) as run,
    ):
        here = run.progress.records
    rounds, clients = len(there), config.clients.per_round
    spent = [sum(record.seconds.get(name, 0.0) for name in ("training", "secure_sum")) for record in (*here, *there)]
    print(f"a round: {sum(spent[: len(here)]) / len(here):.2f} s in process, {sum(spent[len(here) :]) / rounds:.2f} s")
    each = carried["waited_seconds"] / carried["exchanges"]
    print(f"an exchange: {each:.2f} s, {carried['exchanges']} of them in {rounds} rounds and a join")
    protocol = sum(record.upload_bytes + record.download_bytes for record in there) * clients
    total = carried["sent_bytes"] + carried["received_bytes"]
    print(f"bytes: {protocol:,} of the protocol, {total:,} handed to Flower ({total / protocol:.3f} x)")
    print(f"the same adapter: {[r.model_hash for r in here] == [r.model_hash for r in there]}")


if __name__ == "__main__":
    main()
