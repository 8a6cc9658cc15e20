"""A run on the server's machine: settings, key, engine, journal and metrics put together."""

import time
from pathlib import Path

from fedpeft_secure.config_file import load_config
from fedpeft_secure.engines.flower.carrier import Carrier
from fedpeft_secure.engines.flower.engine import Deadlines, FlowerEngine
from fedpeft_secure.engines.flower.journal import Journal
from fedpeft_secure.engines.flower.metrics import RunMetrics, exposed
from fedpeft_secure.engines.flower.settings import ServerSettings
from fedpeft_secure.errors import FedPeftError, InputError
from fedpeft_secure.events import Event

STARTS = ("new", "resume")


def serve_run(path: Path, carrier: Carrier, *, start: str) -> None:
    """Plays a whole run over nodes, and leaves what `fedpeft run` leaves.

    Args:
        path: of the server's settings.
        carrier: brings bytes to nodes.
        start: "new", or "resume" for the run that was interrupted.

    Raises:
        InputError, RunFailedError: As `fedpeft_secure.run`.
    """
    from fedpeft_secure.cli.running import run_deployed

    if start not in STARTS:
        raise InputError(f'start = {start!r}: give "new" or "resume"')
    settings = ServerSettings.load(path)
    config, journal, metrics = load_config(settings.config), Journal.to_file(settings.journal), RunMetrics()

    def lost(party: str, kind: str, cause: str) -> None:
        journal.write("lost", party=party, order=kind, cause=cause)
        metrics.lost(kind, cause)

    engine = FlowerEngine(
        carrier=carrier,
        identity=settings.load_identity(),
        directory=settings.load_directory(),
        deadlines=Deadlines(
            join_seconds=settings.join_seconds,
            train_seconds=settings.train_seconds,
            step_seconds=settings.step_seconds,
        ),
        lost=lost,
    )

    def listen(event: Event) -> None:
        journal.event(event)
        metrics.event(event)
        if engine.nodes is not None:
            metrics.carried(engine.nodes)

    with exposed(metrics, settings.metrics_host, settings.metrics_port):
        started = time.monotonic()
        try:
            run_deployed(engine, config, out=settings.out, resume=start == "resume", listen=listen)
        except FedPeftError as error:
            journal.write("failed", reason=str(error))
            raise
        nodes = engine.nodes
        journal.write(
            "finished",
            seconds=round(time.monotonic() - started, 3),
            exchanges=0 if nodes is None else nodes.exchanges,
            waited_seconds=0.0 if nodes is None else round(nodes.waited_seconds, 3),
            sent_bytes=0 if nodes is None else nodes.sent_bytes,
            received_bytes=0 if nodes is None else nodes.received_bytes,
        )
