"""What the sums in one message cost a client, the server and the key holder; NVFlare's layout of the same LoRA beside.

    python benchmarks/one_message_sums.py                      # N = 100, D = 100,000, 16 bits: best of 5, one core
    python benchmarks/one_message_sums.py --check              # the same, and exit status 1 above a limit
    python benchmarks/one_message_sums.py layout               # 96 tensors of 8 x 768: bytes, with TenSEAL

Times are processor seconds of this process, so that other programs on the machine count less.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

import secagg
from secagg.bench import measure
from secagg.scheme import Binding

PROTOCOLS = (secagg.HelperSum(), secagg.CkksSum(), secagg.BfvSum())
LIMITS = {"helper": 0.75, "ckks": 7.8, "bfv": 3.0}  # x fp32
ENCRYPTION_MS, ADDITION_MS, DECRYPTION_MS = 120.0, 6.0, 40.0
TENSORS, TENSOR_VALUES = 96, 8 * 768


@dataclass(frozen=True, kw_only=True)
class Cost:
    """One protocol's bytes and best milliseconds."""

    protocol: str
    upload_bytes: int
    announcement_bytes: int
    question_bytes: int
    key_ms: float
    client_ms: float
    addition_ms: float
    opening_ms: float
    ratio: float

    @property
    def good(self) -> bool:
        """Whether it stays within the limits."""
        times = (self.client_ms, ENCRYPTION_MS), (self.addition_ms, ADDITION_MS), (self.opening_ms, DECRYPTION_MS)
        return self.ratio <= LIMITS[self.protocol] and all(spent <= limit for spent, limit in times)


def best(work: Callable[[], object], *, repeat: int) -> float:
    """The fewest processor milliseconds of `repeat` calls."""
    spent = []
    for _ in range(repeat):
        start = time.process_time()
        work()
        spent.append(1e3 * (time.process_time() - start))
    return min(spent)


def cost(protocol: secagg.OneMessageSum, *, clients: int, dim: int, repeat: int) -> Cost:
    """Times each party over real contributions of all clients, and checks that the opened sum is exact."""
    names = tuple(f"client-{index:06}" for index in range(clients))
    cohort = secagg.Cohort.with_key_holder(names)
    plan = protocol.plan(clients=names, dim=dim, directory=cohort.directory)
    scheme, rng = protocol.scheme(plan), np.random.default_rng(0)
    secret = scheme.draw(os.urandom)
    public = scheme.public(secret, entropy=os.urandom)
    senders = [Binding(session=bytes(32), name=name, model=bytes(32)) for name in names]
    contributions = [plan.encode(name, rng.uniform(-1, 1, dim), rng=rng) for name in names]

    def hide(index: int):
        return scheme.hide(contributions[index], public=public, binding=senders[index], entropy=os.urandom)

    client_ms = best(lambda: hide(0), repeat=repeat)
    uploads = [hide(index) for index in range(clients)]
    collected = scheme.collect(uploads)
    opened = scheme.open(secret, collected, senders=senders)
    (total,) = scheme.finish(uploads, opened)
    if (total != sum(c.residues[0] for c in contributions) & plan.layout.segments[0].modulus_mask).any():
        raise SystemExit(f"{protocol.label}: the opened sum is wrong")

    def add():
        for upload in uploads:
            scheme.check(upload.body)
        scheme.collect(uploads)
        scheme.finish(uploads, opened)

    upload = len(uploads[0].body) + len(uploads[0].capsule) + 64
    return Cost(
        protocol=protocol.label,
        upload_bytes=upload,
        announcement_bytes=len(public) + 64,
        question_bytes=len(collected) + clients * 128 + -(-clients // 8),
        key_ms=best(lambda: scheme.public(secret, entropy=os.urandom), repeat=repeat),
        client_ms=client_ms,
        addition_ms=best(add, repeat=repeat) / clients,
        opening_ms=best(lambda: scheme.open(secret, collected, senders=senders), repeat=repeat),
        ratio=upload / (4 * dim),
    )


def table(args: argparse.Namespace) -> int:
    costs = [cost(p, clients=args.clients, dim=args.dim, repeat=args.repeat) for p in PROTOCOLS]
    print(f"N = {args.clients}, D = {args.dim:,}, 16 bits; exact sums; best of {args.repeat}, one core\n")
    print("| | upload, x fp32 | upload, bytes | round key, bytes | client, ms | server, ms a client | key holder, ms |")
    print("|---|---|---|---|---|---|---|")
    masked = min(
        (
            measure(clients=args.clients, dim=args.dim, dropout=0.0, server="curious", bits=16, clock=time.process_time)
            for _ in range(2)
        ),
        key=lambda found: found.seconds,
    )
    print(
        f"| masked, curious | {masked.upload_bytes / (4 * args.dim):.2f} | {masked.upload_bytes:,} | - | "
        f"{1e3 * masked.client_seconds_total:.1f} | {1e3 * masked.server_seconds_total / args.clients:.2f} | - |"
    )
    for found in costs:
        print(
            f"| {found.protocol} | {found.ratio:.2f} | {found.upload_bytes:,} | {found.announcement_bytes:,} | "
            f"{found.client_ms:.1f} | {found.addition_ms:.2f} | {found.opening_ms:.1f} |"
        )
    broken = [found.protocol for found in costs if not found.good]
    if broken:
        print(f"\nabove a limit: {', '.join(broken)}")
    return int(bool(broken) and args.check)


def layout() -> int:
    """Bytes of one client's LoRA: NVFlare's way, packed CKKS with one context, and ours."""
    import tenseal

    context = tenseal.context(tenseal.SCHEME_TYPE.CKKS, 8192, coeff_mod_bit_sizes=[60, 40, 40])
    context.global_scale = 2**40
    context.make_context_public()
    values = np.random.default_rng(0).normal(size=TENSORS * TENSOR_VALUES)
    shared = len(context.serialize())
    single = len(tenseal.ckks_vector(context, values[:TENSOR_VALUES].tolist()).serialize())
    packed = len(tenseal.ckks_vector(context, values.tolist()).serialize())
    plain = 4 * len(values)
    rows = [
        ("fp32", plain),
        ("TenSEAL CKKS 8192 [60,40,40], a context with each tensor (NVFlare's layout)", TENSORS * (single + shared)),
        ("the same, all tensors packed, one context", packed + shared),
    ]
    names = tuple(f"client-{index:03}" for index in range(100))
    cohort = secagg.Cohort.with_key_holder(names)
    for protocol in reversed(PROTOCOLS):
        plan = protocol.plan(clients=names, dim=len(values), directory=cohort.directory)
        scheme = protocol.scheme(plan)
        rows.append((f"{protocol.label}, 100 clients, 16 bits", scheme.body_bytes + scheme.capsule_bytes + 64))
    print(f"a LoRA of {TENSORS} x (8 x 768) values\n\n| | MB | x fp32 |\n|---|---|---|")
    for name, size in rows:
        print(f"| {name} | {size / 1e6:.2f} | {size / plain:.2f} |")
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=("table", "layout"), default="table")
    parser.add_argument("--clients", type=int, default=100)
    parser.add_argument("--dim", type=int, default=100_000)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--check", action="store_true", help="exit with 1 above a limit")
    args = parser.parse_args()
    return layout() if args.what == "layout" else table(args)


if __name__ == "__main__":
    sys.exit(main())
