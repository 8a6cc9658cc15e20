"""What a round costs at a thousand, a hundred thousand and a million clients, from measured unit costs.

    python benchmarks/scale.py

The units were measured (see docs/scale.md); what is made of them is arithmetic, and no run of that size was played.
"""

from dataclasses import dataclass

COHORT = 1_000
"""Clients of one masked sum; more are added up cohort by cohort."""


@dataclass(frozen=True, kw_only=True)
class Units:
    """Measured on one core; docs/scale.md says how.

    Args:
        server_seconds: of the server, for one masked sum of 1,000 clients against a lying server.
        client_seconds: of each client in it.
        up_bytes, down_bytes: of each client in it, without the model.
        model_bytes: of the adapter as it is sent out.
        poll_seconds: of the SuperLink's processor, for an idle node that asks for work.
        message_seconds: of the SuperLink's processor, for a message to a node and its reply.
        polls_a_second: of an idle node.
        exchanges: of a round.
    """

    server_seconds: float
    client_seconds: float
    up_bytes: float
    down_bytes: float
    model_bytes: float = 304e3
    poll_seconds: float = 0.006
    message_seconds: float = 0.28
    polls_a_second: float = 1 / 3
    exchanges: int = 5


MEASURED = Units(server_seconds=3.39, client_seconds=0.061, up_bytes=150e3, down_bytes=60e3)


def row(units: Units, clients: int) -> dict[str, float]:
    """A round of so many clients: processor seconds, bytes, and cores that only answer idle nodes."""
    cohorts = max(1, clients // COHORT)
    up, down = clients * units.up_bytes, clients * (units.down_bytes + units.model_bytes)
    return {
        "cohorts": cohorts,
        "secure sum, core s": cohorts * units.server_seconds,
        "up, GB": up / 1e9,
        "down, GB": down / 1e9,
        "both at 10 Gbit/s, s": (up + down) * 8 / 10e9,
        "SuperLink's messages, core s": clients * units.exchanges * units.message_seconds,
        "SuperLink's idle polls, cores": clients * units.polls_a_second * units.poll_seconds,
    }


def main() -> None:
    for clients in (1_000, 100_000, 1_000_000):
        print(
            f"{clients:>9,} clients: "
            + "; ".join(f"{name} {value:,.4g}" for name, value in row(MEASURED, clients).items())
        )


if __name__ == "__main__":
    main()
