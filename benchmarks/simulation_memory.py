"""Does the memory of a simulated run grow with the number of clients? One process for each number, the same data.

    python benchmarks/simulation_memory.py

Every run trains for one round of the default configuration with all clients in the cohort; the peak is what
`result.json` reports, the resident set at its largest.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

COUNTS = (8, 16, 32, 64)


def peak_bytes(clients: int, overrides: list[str]) -> int:
    """The peak memory of a run with `clients` clients."""
    with tempfile.TemporaryDirectory() as folder:
        settings = [f"clients.count={clients}", f"clients.per_round={clients}", "training.rounds=1", "attacks.run=[]"]
        command = [sys.executable, "-c", "from fedpeft_secure.cli import main; main()", "run", "--json"]
        command += ["--out", str(Path(folder) / "run")]
        for setting in (*settings, *overrides):
            command += ["--set", setting]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        return int(json.loads(done.stdout)["compute"]["peak_memory_bytes"])


def main() -> None:
    """Prints a line for each number of clients."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", action="append", default=[], dest="overrides", metavar="KEY=VALUE")
    overrides = parser.parse_args().overrides
    first = None
    for clients in COUNTS:
        peak = peak_bytes(clients, overrides)
        first = first or peak
        print(f"{clients:>3} clients: {peak / 1e9:.3f} GB, {peak / first - 1:+.1%}", flush=True)


if __name__ == "__main__":
    main()
