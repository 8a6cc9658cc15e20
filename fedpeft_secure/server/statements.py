"""Two statements about privacy: what a client's messages reveal, and what the sums alone do; with their assumptions."""

import math
from collections.abc import Sequence
from itertools import accumulate

import dp
import secagg
from fedpeft_secure import secure_sums
from fedpeft_secure.aggregation.rules import adds_noise_up
from fedpeft_secure.budgets import ClientBudget, noise_kind, noise_stddev
from fedpeft_secure.protocols import sum_sizes
from fedpeft_secure.result import AggregatePrivacy, RoundRecord
from fedpeft_secure.secure_sums import corrupt_clients
from fedpeft_secure.server.federation import Federation
from fedpeft_secure.server.whole_clients import (
    charged_releases,
    not_secret,
    whole_clients_aggregate,
    whole_clients_assumptions,
)


def clients_assumptions(federation: Federation) -> str:
    """What must hold for a client's own row to be true: nothing about the server or about other clients."""
    if not federation.private:
        return ""
    if federation.budgets[0].client_noise is not None:
        return whole_clients_assumptions(federation)
    unit, kind = federation.config.privacy.unit, noise_kind(federation.config)
    noise = (
        "its noise comes from the operating system's generator and stays secret"
        if kind == "secure"
        else "its noise were secret, which noise from a seed is not"
    )
    return (
        f"each row bounds what all messages of this client on the ledger together reveal about one {unit}, to the "
        f"server and all other clients together, whatever they do, if {noise}; its batches stay secret; every run on "
        "these data uses this ledger; amplification by the choice of cohorts or by the secure sum is not counted in"
    )


def aggregate_privacy(federation: Federation, records: Sequence[RoundRecord]) -> AggregatePrivacy | None:
    """What the sums alone reveal about an example of any client: the worst over all of them.

    Every honest survivor's noise protects every example in the sum. In the sum of a round, an example of client k has
    sensitivity C_k/d_k, and the noise a variance of Σ (σ_j C_j/d_j)² over the honest survivors j: k itself, and at
    least the n − 1 quietest others, where n is the fewest that any accepted sum holds. Only a release that is linear in
    its noise adds up so: with a second local step, or an adaptive client optimiser, a client reacts to its own noise
    alone, and nothing is claimed; nor where the strategy sums something else than changes, or where clients train parts
    of different size, since the noise on a value is that of those who fill it. All clients are compared at the run's δ:
    the largest ε says nothing at another one's.
    """
    sums, training, privacy = federation.config.secure_sum, federation.config.training, federation.config.privacy
    if federation.budgets[0].client_noise is not None:
        return whole_clients_aggregate(federation, records)
    linear = training.local_steps == 1 and training.optimizer == "sgd" and adds_noise_up(federation.strategy)
    if not federation.private or sums.protocol == "plain" or not linear or federation.agreed.allotments:
        return None
    cohorts = {len(_cohort(record)) for record in records}
    sizes = {size for cohort in cohorts for size in sum_sizes(federation.config, cohort)}
    honest = min(guaranteed_honest(federation, size) for size in sizes)
    worst = (0.0, math.inf)
    for budget in federation.budgets:
        counted = sum(record.attempt + 1 for record in records if budget.client in _cohort(record))
        steps = max(counted, len(charged_releases(federation, budget.client)))
        noise = _noise_multiplier(federation, budget, honest)
        epsilon = dp.epsilon(
            noise_multiplier=noise,
            sample_rate=max((group.sample_rate for group in budget.groups), default=budget.sample_rate),
            steps=steps,
            delta=privacy.delta,
            accountant=privacy.accountant,
            relation=privacy.relation,
        )
        worst = max(worst, (epsilon, noise), key=lambda found: found[0])
    colluders = corrupt_clients(sums.adversarial_fraction, federation.config.clients.count)
    return AggregatePrivacy(
        epsilon=worst[0],
        delta=privacy.delta,
        noise_multiplier=worst[1],
        honest_survivors=honest,
        assumptions=(
            f"whoever attacks sees only the sums of this run: the {sums.protocol} sum holds against a {sums.server} "
            f"server with at most {colluders} colluding clients{third_party(sums.protocol)}; every sum"
            f"{'' if federation.config.aggregation.groups == 1 else ', one for each group,'} that clients "
            f"help to open then holds {honest} honest survivors or more, whose noise adds up{not_secret(federation)}"
        ),
    )


def third_party(protocol: str) -> str:
    """What a protocol with a key holder assumes of it."""
    return " and a key holder that does not collude with it" if protocol in secagg.ONE_MESSAGE else ""


def guaranteed_honest(federation: Federation, cohort: int) -> int:
    """The fewest honest survivors of any sum over a cohort of so many that clients help to open, whatever they hear."""
    some = federation.agreed.model_copy(update={"cohort": tuple(sorted(federation.config.client_names))[:cohort]})
    return secure_sums.guaranteed_honest(some, dim=federation.trained.size, directory=federation.keys.directory)


def _cohort(record: RoundRecord) -> tuple[str, ...]:
    return (*record.survivors, *record.dropped)


def _noise_multiplier(federation: Federation, budget: ClientBudget, honest: int) -> float:
    """Noise of the quietest `honest` survivors with this client among them, over its examples' sensitivity."""
    config = federation.config
    own = noise_stddev(config, budget)
    others = sorted(noise_stddev(config, other) for other in federation.budgets if other.client != budget.client)
    total = list(accumulate((stddev**2 for stddev in others[: honest - 1]), initial=own**2))[-1]
    return budget.noise_multiplier * math.sqrt(total) / own
