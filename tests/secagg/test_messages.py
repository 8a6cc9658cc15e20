import contextlib
import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secagg.errors import WireError
from secagg.messages import Envelope, Transcript

names = st.text(max_size=40)
envelopes = st.builds(Envelope, sender=names, recipient=names, phase=names, payload=st.binary(max_size=200))


@given(envelopes)
def test_envelopes_round_trip(envelope):
    data = envelope.to_bytes()
    assert Envelope.from_bytes(data) == envelope
    assert envelope.num_bytes == len(data)


@given(st.lists(envelopes, max_size=5))
def test_transcripts_round_trip(list_of):
    transcript = Transcript(envelopes=tuple(list_of))
    assert Transcript.from_bytes(transcript.to_bytes()) == transcript


@given(st.binary(max_size=300))
def test_garbage_raises(data):
    for parse in (Envelope.from_bytes, Transcript.from_bytes):
        with pytest.raises(WireError):
            parse(data)


@given(envelopes, st.data())
def test_flipped_bits_never_pass_unnoticed(envelope, data):
    raw = bytearray(envelope.to_bytes())
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with contextlib.suppress(WireError):
        assert Envelope.from_bytes(bytes(raw)) != envelope


def a_transcript():
    return Transcript().extended(
        Envelope(sender=sender, recipient="server", phase="upload", payload=bytes(size))
        for sender, size in (("a", 10), ("b", 20), ("a", 30))
    )


def test_who_sent_how_much():
    transcript = a_transcript()
    header = len(transcript.envelopes[0].to_bytes()) - 10
    assert transcript.total_bytes(sender="a") == 40 + 2 * header
    assert transcript.total_bytes() == 60 + 3 * header
    assert transcript.total_bytes(recipient="a") == 0
    assert len(transcript.between(sender="b", phase="upload")) == 1
    assert transcript.between(phase="share") == ()


def test_files_are_the_owners_only(tmp_path):
    path = tmp_path / "round-3"
    path.write_bytes(b"old")
    path.chmod(0o644)
    a_transcript().save(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert Transcript.load(path) == a_transcript()
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(WireError, match="truncated"):
        Transcript.load(path)
    with pytest.raises(WireError, match="no transcript"):
        Transcript.load(tmp_path / "missing")


def test_payloads_stay_out_of_the_repr():
    assert "payload" not in repr(a_transcript().envelopes[0])
    assert "envelopes" not in repr(a_transcript())
