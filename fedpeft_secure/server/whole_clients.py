"""What a result says of whole clients: who may see what, how much it reveals, and what must hold for that."""

import math
from collections.abc import Sequence

import dp
from fedpeft_secure.budgets import noise_kind
from fedpeft_secure.client_noise import ClientNoise
from fedpeft_secure.errors import RunFailedError
from fedpeft_secure.result import AggregatePrivacy, RoundRecord
from fedpeft_secure.secure_sums import corrupt_clients, sum_plan
from fedpeft_secure.server.federation import Federation

TRUSTED_SERVER = (
    "the server is TRUSTED: it sees the exact sums and adds the noise, so that nothing bounds what it learns"
)


def whole_clients_assumptions(federation: Federation) -> str:
    """What must hold for the rows of the clients: the first statement, about a client's messages."""
    noise, config = _noise(federation), federation.config
    secret = (
        "noise comes from the operating system's generator and stays secret"
        if noise_kind(config) == "secure"
        else "noise were secret, which noise from a seed is not"
    )
    common = (
        f"all data of one client, present or absent; that it takes part is public; {secret}; every run on these data "
        "uses this ledger; amplification by the choice of cohorts is not counted in"
    )
    if noise.shares is None:
        return f"{TRUSTED_SERVER}; each row bounds what the released models reveal to everybody else about {common}"
    colluders = corrupt_clients(config.secure_sum.adversarial_fraction, config.clients.count)
    return (
        f"each row bounds what this client's messages reveal to the server and up to {colluders} colluding clients "
        f"together, as long as the {config.secure_sum.protocol} sum hides what it adds up from a "
        f"{config.secure_sum.server} server: every sum that clients help to open holds the noise shares of "
        f"{noise.shares.cohort.honest} honest clients or more, and these alone suffice; about {common}"
    )


def whole_clients_aggregate(federation: Federation, records: Sequence[RoundRecord]) -> AggregatePrivacy:
    """The second statement: what the sums reveal to somebody outside, who controls no client."""
    noise, privacy = _noise(federation), federation.config.privacy
    names = federation.config.client_names
    released = frozenset[dp.ReleaseId]().union(*(charged_releases(federation, name) for name in names))
    steps = max(sum(record.attempt + 1 for record in records), len(released))
    sums = sum_plan(federation.agreed, dim=federation.trained.size, directory=federation.keys.directory)
    fewest = sums.fewest_survivors
    if noise.shares is None:
        event = noise.event(steps=steps)
        assumptions = f"{TRUSTED_SERVER}; whoever attacks sees only the models that it releases{not_secret(federation)}"
    else:
        event = noise.event(steps=steps, shares=fewest)
        assumptions = (
            "whoever attacks sees only the sums of this run and controls none of its clients: every sum then holds the "
            f"noise shares of {fewest} clients or more, colluding ones of the first statement included"
            f"{not_secret(federation)}"
        )
    epsilon = dp.compose((event,), delta=privacy.delta, accountant=privacy.accountant, relation=privacy.relation)
    extra = 1.0 if noise.shares is None else math.sqrt(fewest / noise.shares.cohort.honest)
    return AggregatePrivacy(
        epsilon=epsilon,
        delta=privacy.delta,
        noise_multiplier=noise.noise_multiplier * extra,
        honest_survivors=fewest,
        assumptions=assumptions,
    )


def not_secret(federation: Federation) -> str:
    """What a statement about sums must add where the noise comes from a seed, or empty."""
    return (
        "" if noise_kind(federation.config) == "secure" else "; this if noise were secret, which one from a seed is not"
    )


def charged_releases(federation: Federation, client: str) -> frozenset[dp.ReleaseId]:
    """What `client` was charged for in this run: every sum that it may be in, finished rounds or not."""
    history = federation.ledger.history(client)
    return frozenset(charge.release for charge in history if charge.release.run == federation.run)


def _noise(federation: Federation) -> ClientNoise:
    noise = federation.budgets[0].client_noise
    if noise is None:
        raise RunFailedError("this run protects single examples, not whole clients")
    return noise
