import io
import json
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from fedpeft_secure.engines.flower.journal import Journal
from fedpeft_secure.engines.flower.metrics import RunMetrics, exposed, serving
from fedpeft_secure.events import ClientTrained, Notice, PhaseStarted, RunStarted
from fedpeft_secure.server.job import training_run

from .conftest import Site


def page(port: int, path: str) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=20) as answer:
        return str(answer.read().decode())


def test_a_runs_figures_are_served_in_prometheus_format(make_site: Callable[..., Site], tmp_path: Path) -> None:
    site, metrics, stream = make_site({"training.rounds": 1}), RunMetrics(), io.StringIO()
    journal, engine = Journal(stream=stream), site.engine()

    def listen(event: object) -> None:
        journal.event(event)  # type: ignore[arg-type]
        metrics.event(event)  # type: ignore[arg-type]

    with training_run(site.config, tmp_path / "run", resume=False, listen=listen, engine=engine):
        assert engine.nodes is not None
        metrics.carried(engine.nodes)
    metrics.lost("train", "no answer")
    with serving(metrics, "127.0.0.1", 0) as port:
        text = page(port, "/metrics")
        assert page(port, "/health") == "ok\n"
        with pytest.raises(urllib.error.HTTPError, match="404"):
            page(port, "/etc/passwd")
    assert 'fedpeft_rounds_total{outcome="finished"} 1.0' in text
    assert 'fedpeft_drops_total{cause="no answer",order="train"} 1.0' in text
    assert 'fedpeft_epsilon_spent{client="client-1"}' in text
    assert "fedpeft_exchanges 6.0" in text, "who is there, and five of the masked sum that bears a lying server"
    sent = next(float(line.split()[-1]) for line in text.splitlines() if 'direction="sent"' in line)
    assert sent == engine.nodes.sent_bytes > 10_000
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["event"] for line in lines if line["event"] in ("run", "round")] == ["run", "round"]


def test_logs_hold_no_secret(make_site: Callable[..., Site], tmp_path: Path) -> None:
    site, stream = make_site({"training.rounds": 1}), io.StringIO()
    journal = Journal(stream=stream)
    with training_run(site.config, tmp_path / "run", resume=False, listen=journal.event, engine=site.engine()):
        pass
    said = stream.getvalue() + "".join(site.logs)
    texts = [json.loads(line)["text"] for line in (site.folder / "client-1.jsonl").read_text().splitlines()]
    assert not any(text in said for text in texts)
    assert not any(node.identity.private.hex() in said for node in site.nodes.values())


def test_no_port_serves_nothing() -> None:
    with exposed(RunMetrics(), "127.0.0.1", 0) as port:
        assert port == 0


def test_every_event_has_a_line(tmp_path: Path) -> None:
    journal = Journal.to_file(tmp_path / "journal.jsonl")
    journal.event(RunStarted(rounds=2, rounds_done=0, clients=3, private=True, headline="what"))
    journal.event(PhaseStarted(name="validation", round=1))
    journal.event(ClientTrained(round=1, client="client-1", position=1, cohort=3))
    journal.event(Notice(text="mind this"))
    journal.stream.close()
    lines = [json.loads(line) for line in (tmp_path / "journal.jsonl").read_text().splitlines()]
    assert [line["event"] for line in lines] == ["run", "phase", "trained", "notice"]
    assert (tmp_path / "journal.jsonl").stat().st_mode & 0o777 == 0o600
