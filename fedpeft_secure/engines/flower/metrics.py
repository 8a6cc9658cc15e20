"""Health and metrics of a run on the server, in Prometheus' format: public figures, none of a single client's data."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Thread
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server
from wsgiref.types import StartResponse, WSGIEnvironment

from prometheus_client import CollectorRegistry, Counter, Gauge, make_wsgi_app

from fedpeft_secure.engines.flower.nodes import Nodes
from fedpeft_secure.events import Event, PhaseStarted, RoundFinished, RunStarted

NAMESPACE = "fedpeft"


@dataclass(kw_only=True, slots=True)
class RunMetrics:
    """Counters and gauges of one run."""

    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    rounds: Counter = field(init=False)
    planned: Gauge = field(init=False)
    drops: Counter = field(init=False)
    carried_bytes: Gauge = field(init=False)
    exchanges: Gauge = field(init=False)
    epsilon: Gauge = field(init=False)
    seconds: Counter = field(init=False)
    phase: Gauge = field(init=False)
    accuracy: Gauge = field(init=False)

    def __post_init__(self) -> None:
        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(name, text, labels, namespace=NAMESPACE, registry=self.registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(name, text, labels, namespace=NAMESPACE, registry=self.registry)

        self.rounds = counter("rounds", "Rounds by outcome.", "outcome")
        self.planned = gauge("rounds_planned", "Rounds of the run.")
        self.drops = counter("drops", "Parties from whom no good answer came, by order and cause.", "order", "cause")
        self.carried_bytes = gauge("carried_bytes", "Bytes handed to and taken from the carrier.", "direction")
        self.exchanges = gauge("exchanges", "Exchanges with nodes.")
        self.epsilon = gauge("epsilon_spent", "Privacy spent, by client, as the server's ledger has it.", "client")
        self.seconds = counter("phase_seconds", "Seconds by phase of a round.", "phase")
        self.phase = gauge("phase_round", "The round in which a phase began last.", "phase")
        self.accuracy = gauge("validation_accuracy", "Share of right answers on the validation split.")

    def event(self, event: Event) -> None:
        """What the training loop tells."""
        match event:
            case RunStarted():
                self.planned.set(event.rounds)
            case PhaseStarted() if event.round is not None:
                self.phase.labels(event.name).set(event.round)
            case RoundFinished():
                record = event.record
                self.rounds.labels("failed" if record.failure else "finished").inc()
                for client, epsilon in record.epsilon_spent.items():
                    self.epsilon.labels(client).set(epsilon)
                for name, spent in record.seconds.items():
                    self.seconds.labels(name).inc(spent)
                if record.accuracy is not None:
                    self.accuracy.set(record.accuracy)

    def lost(self, kind: str, cause: str) -> None:
        """A party that gave no good answer."""
        self.drops.labels(kind, cause.partition(":")[0]).inc()

    def carried(self, nodes: Nodes) -> None:
        """What passed the carrier so far."""
        self.carried_bytes.labels("sent").set(nodes.sent_bytes)
        self.carried_bytes.labels("received").set(nodes.received_bytes)
        self.exchanges.set(nodes.exchanges)


class _Quiet(WSGIRequestHandler):
    """Scrapes are no news."""

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


@contextmanager
def exposed(metrics: RunMetrics, host: str, port: int) -> Iterator[int]:
    """Serves /metrics and /health for as long as the block lasts; nothing where `port` is 0.

    Yields:
        The port.
    """
    if port == 0:
        yield 0
        return
    with serving(metrics, host, port) as bound:
        yield bound


@contextmanager
def serving(metrics: RunMetrics, host: str, port: int) -> Iterator[int]:
    """The same at any port, 0 for a free one."""
    pages = make_wsgi_app(metrics.registry)

    def page(environ: WSGIEnvironment, start: StartResponse) -> list[bytes]:
        if environ["PATH_INFO"] == "/health":
            start("200 OK", [("Content-Type", "text/plain")])
            return [b"ok\n"]
        if environ["PATH_INFO"] != "/metrics":
            start("404 Not Found", [("Content-Type", "text/plain")])
            return [b"there are /metrics and /health\n"]
        return list(pages(environ, start))

    server: WSGIServer = make_server(host, port, page, handler_class=_Quiet)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
