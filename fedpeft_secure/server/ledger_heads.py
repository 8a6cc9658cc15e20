"""Keeps the end of the ledger's hash chain beside the results, and looks for it again when a run goes on."""

import dp
from dp.ledger_store import Head
from fedpeft_secure.result import LedgerHead
from fedpeft_secure.server.checkpoints import Progress


def ledger_head(ledger: dp.Ledger) -> LedgerHead:
    """Where the chain ends now."""
    head = ledger.head()
    return LedgerHead(charges=head.count, digest=head.digest.hex())


def check_ledger(ledger: dp.Ledger, progress: Progress) -> None:
    """Refuses to go on with a ledger that lost what it held after the last finished round.

    Raises:
        dp.LedgerError: If the chain does not hold the recorded head: an older copy, or a ledger that was rewritten.
    """
    if progress.records:
        recorded = progress.records[-1].ledger
        ledger.verify(head=Head(count=recorded.charges, digest=bytes.fromhex(recorded.digest)))
