"""Builds the known answers: run `python -m tests.secagg.vectors` only when the version of the protocol changes."""

import json
from pathlib import Path

import numpy as np

import secagg
from secagg import masked_messages as wire
from secagg.crypto import Agreement, commit, digest, pair_key, seal, sealing_key, seeded_entropy, x25519_public
from secagg.masks import PAIR_MASK, SELF_MASK, Masker
from secagg.neighbours import SessionGraph
from secagg.packing import pack, word_type
from secagg.shamir import split

FILE = Path(__file__).parent / "known_answers.json"
ONE, TWO, SESSION = bytes(range(32)), bytes(range(32, 64)), bytes(range(64, 96))
NAMES = ("a", "b", "c", "d", "e")


def a_plan(malicious: bool) -> tuple[secagg.MaskedSum, secagg.SumPlan, secagg.Cohort]:
    cohort = secagg.Cohort.generate(NAMES, seeded_entropy(b"known answers"))
    protocol = secagg.MaskedSum(codec=secagg.FixedPoint(clip=1.0, bits=8, max_weight=3), malicious_server=malicious)
    plan = protocol.plan(
        clients=NAMES,
        dim=3,
        run="vectors",
        round=7,
        summed_weights=True,
        manifest=secagg.Manifest.whole_model(ONE),
        directory=cohort.directory,
    )
    return protocol, plan, cohort


def a_round(malicious: bool) -> tuple[secagg.SumPlan, secagg.Transcript, secagg.Aggregate]:
    """A whole round with fixed randomness: client "c" vanishes before uploading."""
    protocol, plan, cohort = a_plan(malicious)
    clients = {}
    for i, name in enumerate(NAMES):
        member = secagg.Member(
            name=name, identity=cohort.identities[name], directory=cohort.directory, received={"model": ONE}
        )
        vector = np.array([-1.0, 0.0, 1.0])
        contribution = plan.encode(name, vector, weight=3, rng=np.random.default_rng(i))
        clients[name] = protocol.client(
            plan, member=member, contribution=contribution, entropy=seeded_entropy(name.encode())
        )
    recorder = secagg.Recorder(drop={"upload": {"c"}})
    result = secagg.drive(protocol.server(plan, directory=cohort.directory), clients, recorder)
    return plan, recorder.transcript, result


def masks() -> list[dict[str, object]]:
    rows = []
    for bits, length in ((8, 4), (16, 4), (30, 3)):
        layout = secagg.FixedPoint(clip=1.0, bits=bits).layout(dim=length, clients=9, summed_weights=False)
        for purpose in (SELF_MASK, PAIR_MASK):
            target = layout.zeros()
            Masker(layout, session=SESSION).add(target, key=ONE, purpose=purpose)
            layout.reduce(target)
            num_bits = layout.segments[0].num_bits
            rows.append({"purpose": purpose, "bits": bits, "num_bits": num_bits, "mask": target[0].tolist()})
    return rows


def packings() -> list[dict[str, object]]:
    rows = []
    for num_bits in (1, 7, 23, 32, 33, 64):
        values = [(i * 0x9E3779B97F4A7C15) % (1 << num_bits) for i in range(5)]
        data = pack(np.array(values, dtype=word_type(num_bits)), num_bits=num_bits)
        rows.append({"num_bits": num_bits, "values": values, "sha256": digest("x", data).hex(), "bytes": len(data)})
    return rows


def rounds() -> list[dict[str, object]]:
    rows = []
    for malicious in (False, True):
        plan, transcript, result = a_round(malicious)
        roster = transcript.between(sender=secagg.SERVER, phase="share")[0].payload
        rows.append(
            {
                "malicious": malicious,
                "plan_digest": plan.digest().hex(),
                "session": wire.session_id(plan.digest(), roster).hex(),
                "transcript_digest": digest("transcript", transcript.to_bytes()).hex(),
                "first_upload": transcript.between(sender="a", phase="upload")[0].payload.hex(),
                "integers": result.integers.tolist(),
                "total_weight": result.total_weight,
                "survivors": list(result.survivors),
            }
        )
    return rows


def failures() -> list[dict[str, str]]:
    """Malformed bytes by parser, each with the reason that its refusal must name."""
    envelope = secagg.Envelope(sender="a", recipient="server", phase="upload", payload=b"xyz").to_bytes()
    layout = secagg.FixedPoint(clip=1.0).layout(dim=3, clients=2, summed_weights=False)
    contribution = secagg.Encoded(layout=layout, residues=layout.zeros()).to_bytes()
    padded = bytearray(contribution)
    padded[-1] = 1
    return [
        {"parser": "envelope", "hex": envelope[:-1].hex(), "reason": "truncated"},
        {"parser": "envelope", "hex": (envelope + b"\0").hex(), "reason": "too many"},
        {"parser": "envelope", "hex": (envelope[:3] + b"\x02" + envelope[4:]).hex(), "reason": "another version"},
        {"parser": "envelope", "hex": (envelope[:5] + b"\xff" + envelope[6:]).hex(), "reason": "not UTF-8"},
        {"parser": "envelope", "hex": envelope.replace(b"\0\0\0\3", b"\xff\xff\xff\xff").hex(), "reason": "larger"},
        {"parser": "contribution", "hex": bytes(padded).hex(), "reason": "padding"},
        {"parser": "contribution", "hex": contribution[:-4].hex(), "reason": "truncated"},
        {"parser": "contribution", "hex": contribution.replace(b"\x11", b"\x41").hex(), "reason": "1…64 allowed"},
        {"parser": "transcript", "hex": b"FST\x01\x00\x00\x00\x02".hex(), "reason": "truncated"},
        {"parser": "memory", "hex": b"FSR\x01\x00\x00\x00\x01".hex(), "reason": "truncated"},
        {"parser": "directory", "hex": b"FSD\x01\x00\x00\x00\x00x".hex(), "reason": "too many"},
        {"parser": "set of 9", "hex": "00fe", "reason": "outside the cohort"},
        {"parser": "set of 9", "hex": "00", "reason": "2 expected"},
        {"parser": "shares of 1", "hex": "03" + "00" * 33, "reason": "unknown kind"},
        {"parser": "shares of 1", "hex": "00" * 32 + "0101", "reason": "unknown kind"},
        {"parser": "share", "hex": "01" + "00" * 30 + "0129", "reason": "not an element"},
        {"parser": "share", "hex": "00" * 32, "reason": "not an element"},
    ]


def build() -> dict[str, object]:
    plan = secagg.plan_graph(20, adversarial_fraction=0.1, dropout_fraction=0.1, malicious_server=True)
    graph = SessionGraph(plan, session=SESSION)
    shared = Agreement(ONE).with_public(x25519_public(TWO))
    key = sealing_key(shared, session=SESSION, sender="a", recipient="b")
    return {
        "version": 1,
        "commitment": commit(ONE).hex(),
        "shared": shared.hex(),
        "sealing_key": key.hex(),
        "pair_key": pair_key(shared, session=SESSION, first="a", second="b").hex(),
        "sealed": seal(key, b"share", context=SESSION).hex(),
        "shares_3_of_5": [s.hex() for s in split(TWO, points=5, threshold=3, entropy=seeded_entropy(ONE))],
        "seeded_entropy": seeded_entropy(ONE)(24).hex(),
        "neighbours_of_20": [list(graph.neighbours(position)) for position in range(20)],
        "masks": masks(),
        "packings": packings(),
        "rounds": rounds(),
        "failures": failures(),
    }


if __name__ == "__main__":
    FILE.write_text(json.dumps(build(), indent=1, ensure_ascii=False) + "\n")
