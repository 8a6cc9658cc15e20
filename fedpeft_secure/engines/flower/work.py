"""The long-lived processes of a party: its worker answers orders until it is stopped."""

from pathlib import Path

import dp
from fedpeft_secure.engines.flower.holder import open_holder
from fedpeft_secure.engines.flower.journal import Journal
from fedpeft_secure.engines.flower.node import open_node
from fedpeft_secure.engines.flower.settings import HolderSettings, NodeSettings
from fedpeft_secure.engines.flower.worker import serve


def run_node(path: Path) -> None:
    """Runs a client's worker until it is told to stop.

    Raises:
        InputError: If its settings, key, directory or policy cannot be used.
        dp.LedgerError: If its ledger cannot; another process may have it.
    """
    settings, journal = NodeSettings.load(path), Journal.to_stderr()
    with dp.Ledger.open(settings.ledger) as ledger:
        node = open_node(settings, ledger, log=lambda text: journal.write("node", party=settings.name, text=text))
        journal.write("serving", party=settings.name, socket=str(settings.socket))
        serve(settings.socket, node.answer)


def run_holder(path: Path) -> None:
    """Runs a key holder's worker until it is told to stop.

    Raises:
        InputError: If its settings or state cannot be used.
    """
    settings, journal = HolderSettings.load(path), Journal.to_stderr()
    holder = open_holder(settings, log=lambda text: journal.write("key holder", text=text))
    journal.write("serving", party="key-holder", socket=str(settings.socket))
    serve(settings.socket, holder.answer)
