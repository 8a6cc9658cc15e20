import pytest

from secagg.errors import WireError
from secagg.wire import Reader, Writer


def test_round_trip():
    data = Writer(b"AB").uint(7, num_bytes=3).text("é").blob(b"xyz").raw(b"!").done()
    reader = Reader(data=data, what="test").magic(b"AB")
    assert (reader.uint(num_bytes=3), reader.text(), reader.blob(), reader.raw(1)) == (7, "é", b"xyz", b"!")
    reader.end()


def test_every_truncation_raises():
    data = Writer(b"AB").text("name").blob(b"xyz").done()
    for length in range(len(data)):
        reader = Reader(data=data[:length], what="test")
        with pytest.raises(WireError, match="truncated"):
            (reader.magic(b"AB"), reader.text(), reader.blob())


def test_anything_left_raises():
    with pytest.raises(WireError, match="2 bytes too many"):
        Reader(data=b"xx", what="test").end()


def test_another_version_raises():
    with pytest.raises(WireError, match="another version"):
        Reader(data=b"AC", what="test").magic(b"AB")


def test_names():
    with pytest.raises(WireError, match="longer than 255"):
        Writer(b"").text("x" * 256)
    with pytest.raises(WireError, match="not UTF-8"):
        Reader(data=b"\x01\xff", what="test").text()


@pytest.mark.parametrize("value", [-1, 256])
def test_numbers_that_do_not_fit(value):
    with pytest.raises(WireError, match="does not fit 1 unsigned bytes"):
        Writer(b"").uint(value, num_bytes=1)


def test_half_a_surrogate_is_no_name():
    with pytest.raises(WireError, match="not text that UTF-8 can hold"):
        Writer(b"").text("\ud800")


def test_a_hostile_length_allocates_nothing():
    with pytest.raises(WireError, match="larger than"):
        Reader(data=b"\xff\xff\xff\xff", what="test").blob()
    with pytest.raises(WireError, match="truncated"):
        Reader(data=b"\x3f\xff\xff\xff", what="test").blob()


def test_contents_stay_out_of_the_repr():
    assert "secret" not in repr(Reader(data=b"secret", what="test"))
