import io

import pytest
from rich.console import Console

from fedpeft_secure.bench_table import cost_table
from secagg.bench import measure


def shown(protocol: str, server: str) -> list[list[str]]:
    """The words of every line on a wide screen, without the frame."""
    cost = measure(clients=5, dim=50, dropout=0.2, server=server, bits=16, protocol=protocol)
    screen = io.StringIO()
    Console(file=screen, width=160).print(cost_table(cost))
    frame = str.maketrans(dict.fromkeys("│┃━─┏┓┡┩├┤└┘┳╇┼┴", " "))
    return [line.translate(frame).split() for line in screen.getvalue().splitlines()]


def prose(lines: list[list[str]]) -> str:
    return " ".join(" ".join(line) for line in lines)


def test_a_masked_round() -> None:
    lines = shown("masked", "malicious")
    assert "malicious server: 5 clients, of which 1 vanish, 50 values of 16 bits" in prose(lines)
    assert ["Phase", "A", "client,", "s", "Server,", "s"] in lines
    start, end = (next(at for at, line in enumerate(lines) if line[:1] == [word]) for word in ("encode", "all"))
    rows = {line[0]: line[1:] for line in lines[start : end + 1] if line}
    assert list(rows) == ["encode", "advertise", "share", "upload", "confirm", "unmask", "all"]
    assert rows["encode"][1] == "–"
    total = sum(float(row[0]) for name, row in rows.items() if name != "all")
    assert float(rows["all"][0]) == pytest.approx(total, abs=5e-4)
    assert "of them open a mask; a client sends" in prose(lines)


def test_a_round_with_a_key_holder() -> None:
    lines = shown("helper", "curious")
    assert ["Phase", "A", "client,", "s", "Server,", "s", "Key", "holder,", "s"] in lines
    assert any(line[:2] == ["open", "–"] for line in lines)
    assert "open a mask" not in prose(lines)
    assert "the mean is off by" in prose(lines)
