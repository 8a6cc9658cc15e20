"""Known answers as files: a change of any byte that is sent or derived fails here."""

import json

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import CTR

import secagg
from secagg import masked_messages as wire
from secagg.crypto import derive_from
from secagg.masks import mask_label
from secagg.shamir import combine
from tests.secagg.vectors import FILE, ONE, SESSION, TWO, build

KNOWN = json.loads(FILE.read_text())
BUILT = json.loads(json.dumps(build()))


@pytest.mark.parametrize("name", sorted(KNOWN))
def test_known_answers(name):
    assert BUILT[name] == KNOWN[name]


def test_nothing_is_missing_from_the_file():
    assert set(BUILT) == set(KNOWN)


@pytest.mark.parametrize("row", KNOWN["masks"], ids=lambda row: f"{row['purpose']}-{row['bits']}")
def test_masks_by_hand(row):
    """The stream, spelled out as in SPEC.md section 4."""
    length, width = len(row["mask"]), 4 if row["num_bits"] <= 32 else 8
    segment = secagg.Segment(name="values", length=length, num_bits=row["num_bits"])
    key = derive_from(ONE, mask_label(row["purpose"], segment=segment, session=SESSION))
    stream = Cipher(AES256(key), CTR(bytes(16))).encryptor().update(bytes(length * width))
    words = [int.from_bytes(stream[i : i + width], "little") for i in range(0, len(stream), width)]
    assert [word % (1 << row["num_bits"]) for word in words] == row["mask"]


def test_known_shares_combine():
    shares = {i + 1: bytes.fromhex(share) for i, share in enumerate(KNOWN["shares_3_of_5"])}
    assert combine({point: shares[point] for point in (2, 4, 5)}, points=5) == TWO


@pytest.mark.parametrize("row", KNOWN["rounds"], ids=["curious", "malicious"])
def test_known_rounds_have_the_known_sum(row):
    assert row["integers"] == [-127 * 4, 0, 127 * 4]
    assert row["total_weight"] == 12
    assert row["survivors"] == ["a", "b", "d", "e"]


PARSERS = {
    "envelope": secagg.Envelope.from_bytes,
    "contribution": secagg.Encoded.from_bytes,
    "transcript": secagg.Transcript.from_bytes,
    "memory": secagg.ClientMemory.from_bytes,
    "directory": secagg.KeyDirectory.from_bytes,
    "set of 9": lambda data: wire.parse_set(data, num_clients=9),
    "shares of 1": lambda data: wire.parse_shares(data, count=1),
    "share": lambda data: combine({1: data}, points=1),
}


@pytest.mark.parametrize("row", KNOWN["failures"], ids=lambda row: f"{row['parser']}: {row['reason']}")
def test_known_failures(row):
    with pytest.raises(secagg.WireError, match=row["reason"]):
        PARSERS[row["parser"]](bytes.fromhex(row["hex"]))
