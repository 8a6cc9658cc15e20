"""A measured round of a secure sum on the screen."""

from rich.table import Table

from secagg.bench import SecureSumCost
from secagg.stopwatch import Seconds


def cost_table(cost: SecureSumCost) -> Table:
    """Seconds by phase and party; below, what one client sends and how far the mean is off."""
    title = (
        f"One round, protocol {cost.protocol}, {cost.server} server: {cost.clients:,} clients, of which "
        f"{cost.dropped:,} vanish, {cost.dim:,} values of {cost.bits} bits"
    )
    table = Table(title=title, caption=_caption(cost), caption_justify="left")
    table.add_column("Phase")
    parties = [("A client", cost.client_seconds), ("Server", cost.server_seconds)]
    if cost.key_holder_seconds:
        parties.append(("Key holder", cost.key_holder_seconds))
    for name, _ in parties:
        table.add_column(f"{name}, s", justify="right", no_wrap=True)
    for phase in dict.fromkeys(phase for _, seconds in parties for phase in seconds):
        table.add_row(phase, *(_cell(seconds, phase) for _, seconds in parties))
    table.add_section()
    table.add_row("all", *(f"{sum(seconds.values()):.4f}" for _, seconds in parties))
    return table


def _cell(seconds: Seconds, phase: str) -> str:
    return f"{seconds[phase]:.4f}" if phase in seconds else "–"


def _caption(cost: SecureSumCost) -> str:
    graph = f"{cost.degree} neighbours, {cost.threshold} of them open a mask; " if cost.degree is not None else ""
    return (
        f"{graph}a client sends {cost.upload_bytes:,} and receives {cost.download_bytes:,} bytes; the mean is off by "
        f"{cost.max_error:.1e} at most; {cost.seconds:.1f} s for all parties together"
    )
