"""What the masked sum costs, and how that compares with Flower's SecAgg+ in the same run.

    python benchmarks/secure_sum.py compare --flower-python PYTHON   # N = 100, D = 100,000, 10 % vanish before upload
    python benchmarks/secure_sum.py scale --out runs/secure-sum      # against N (to 1,000) and D (to 10^6): JSON, PNG

PYTHON is an interpreter that has flwr 1.40 or 1.41 (it may live in another environment). Times are wall-clock seconds
on one core; `--clock cpu` counts processor seconds instead, for machines that others use too.
"""

import argparse
import dataclasses
import json
import os
import subprocess
import time
from pathlib import Path

from secagg.bench import SecureSumCost, measure

HERE = Path(__file__).parent
SERVERS = ("curious", "malicious")
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def ours(*, clients: int, dim: int, server: str, repeat: int, clock: str) -> SecureSumCost:
    """The fastest of `repeat` rounds."""
    costs = [
        measure(clients=clients, dim=dim, dropout=0.1, server=server, bits=16, seed=seed, clock=CLOCKS[clock])
        for seed in range(repeat)
    ]
    return min(costs, key=lambda cost: cost.seconds)


def flower(python: str, *, clients: int, dim: int) -> dict:
    """One round of the peer, with 31 shares, in its own process."""
    command = [python, str(HERE / "flower_secagg.py"), "--clients", str(clients), "--dim", str(dim), "--shares", "31"]
    done = subprocess.run(
        [*command, "--drop-upload", str(clients // 10)],
        capture_output=True,
        check=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    return json.loads(done.stdout.splitlines()[-1])


def compare(args: argparse.Namespace) -> None:
    print(f"N = {args.clients}, D = {args.dim:,}, 10 % vanish before uploading; all parties in one process")
    rows = {
        server: ours(clients=args.clients, dim=args.dim, server=server, repeat=args.repeat, clock="wall")
        for server in SERVERS
    }
    peer = flower(args.flower_python, clients=args.clients, dim=args.dim) if args.flower_python else None
    for server, cost in rows.items():
        ratio = f", {peer['seconds'] / cost.seconds:.1f}x faster than the peer" if peer else ""
        print(
            f"masked, {server}: {cost.seconds:.2f} s{ratio}; a client {1000 * cost.client_seconds_total:.0f} ms and "
            f"{cost.upload_bytes / (4 * cost.dim):.2f}x fp32 up, server {cost.server_seconds_total:.2f} s, "
            f"largest error {cost.max_error:.1e}"
        )
    if peer:
        up, error = peer["upload_bytes"] / (4 * args.dim), peer["max_error"]
        print(f"Flower SecAgg+, 31 shares: {peer['seconds']:.2f} s; {up:.2f}x fp32 up, largest error {error:.1e}")
    print(json.dumps({"ours": {s: dataclasses.asdict(c) for s, c in rows.items()}, "peer": peer}))


def scale(args: argparse.Namespace) -> None:
    rows = []
    grid = [(n, 100_000) for n in (10, 30, 100, 300, 1000) if n <= args.max_clients]
    grid += [(100, d) for d in (1000, 10_000, 1_000_000) if d <= args.max_dim]
    for server in SERVERS:
        for clients, dim in grid:
            cost = ours(clients=clients, dim=dim, server=server, repeat=args.repeat, clock=args.clock)
            rows.append(dataclasses.asdict(cost))
            print(
                f"{server:9} N = {clients:5} D = {dim:9,}: client {1000 * cost.client_seconds_total:8.1f} ms, "
                f"server {cost.server_seconds_total:7.3f} s",
                flush=True,
            )
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "secure_sum.json").write_text(json.dumps({"clock": args.clock, "rows": rows}, indent=1) + "\n")
    draw(rows, args.out / "secure_sum.png", clock=args.clock)
    print(args.out / "secure_sum.png")


def draw(rows: list[dict], path: Path, *, clock: str) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(1, 2, figsize=(10, 4), constrained_layout=True)
    for panel, axis, fixed, label in (
        (panels[0], "clients", ("dim", 100_000), "clients (100,000 values)"),
        (panels[1], "dim", ("clients", 100), "values (100 clients)"),
    ):
        for server, style in zip(SERVERS, ("-", "--"), strict=True):
            line = sorted((r for r in rows if r["server"] == server and r[fixed[0]] == fixed[1]), key=lambda r: r[axis])
            xs = [r[axis] for r in line]
            for party, colour in (("server", "#b3541e"), ("client", "#1f5f8b")):
                ys = [r[f"{party}_seconds_total"] for r in line]
                panel.loglog(xs, ys, style, marker="o", color=colour, label=f"{party}, {server} plan")
        panel.set_xlabel(label)
        panel.set_ylabel(f"{clock} seconds a round")
        panel.grid(visible=True, which="both", alpha=0.25)
    panels[0].legend()
    figure.suptitle("Masked sum, 16 bits, 10 % of the clients vanish before uploading")
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    one = commands.add_parser("compare")
    one.add_argument("--flower-python")
    one.add_argument("--clients", type=int, default=100)
    one.add_argument("--dim", type=int, default=100_000)
    one.add_argument("--repeat", type=int, default=1)
    one.set_defaults(run=compare)
    two = commands.add_parser("scale")
    two.add_argument("--out", type=Path, default=Path("runs/secure-sum"))
    two.add_argument("--max-clients", type=int, default=1000)
    two.add_argument("--max-dim", type=int, default=1_000_000)
    two.add_argument("--repeat", type=int, default=1)
    two.add_argument("--clock", choices=CLOCKS, default="wall")
    two.set_defaults(run=scale)
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
