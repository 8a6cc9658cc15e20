"""What a client insists on, whatever the server asks: checked before it works."""

from dataclasses import dataclass

from fedpeft_secure.budgets import ClientBudget, epsilon_limit
from fedpeft_secure.config import Config
from fedpeft_secure.errors import PolicyError
from fedpeft_secure.plans import RoundPlan

AGREED = (
    "run", "strategy", "local_steps", "sample_rate", "nominal_batch", "optimizer", "learning_rate", "proximal",
    "control_variates", "clip_norm",
    "noise_multiplier", "protocol", "malicious_server", "dropout_fraction", "codec_clip", "codec_bits", "groups",
    "mechanism", "count_weight", "rank", "layers", "targets", "scaled", "weighing", "sums",
    "sent_share", "sent_values", "sum_groups", "robust", "trimmed_share",
)  # fmt: skip
"""Terms of a plan that stay the same over a run: with others a server could outgrow the noise or provoke failures."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ClientPolicy:
    """A client's own terms.

    Args:
        min_cohort: fewest clients that a sum may hide it among.
        adversarial_fraction: share of all clients that the sum must bear being corrupt.
        max_epsilon: the largest budget of one run that it accepts.
        protocols: the secure sums that it accepts.
        trusts_server: whether it accepts protocols that a lying server breaks.
        max_total_epsilon: the most that all runs on its ledger may spend together; None for what each may.
        agreed: a plan with the terms on which the client joined the run; None takes any, which only tests should.
    """

    min_cohort: int
    adversarial_fraction: float
    max_epsilon: float
    protocols: frozenset[str]
    trusts_server: bool
    agreed: RoundPlan | None = None
    max_total_epsilon: float | None = None

    def check(self, plan: RoundPlan, *, client: str, budget: ClientBudget) -> None:
        """Refuses a plan that breaks a term.

        Raises:
            PolicyError: Names the term.
        """
        refusals = (
            (client not in plan.cohort, "the plan's cohort does not include this client"),
            (plan.protocol not in self.protocols, f"protocol {plan.protocol!r} is not allowed"),
            (plan.min_cohort < self.min_cohort, f"min_cohort {plan.min_cohort} is below {self.min_cohort}"),
            (
                plan.adversarial_fraction < self.adversarial_fraction,
                f"adversarial_fraction {plan.adversarial_fraction:g} is below {self.adversarial_fraction:g}",
            ),
            (not (plan.malicious_server or self.trusts_server), "the plan trusts the server, this client does not"),
            (budget.epsilon > self.max_epsilon, f"ε = {budget.epsilon:g} is above {self.max_epsilon:g}"),
            (plan.private != budget.private, "the plan and this client's budget disagree on privacy"),
            (
                self.agreed is not None and plan.allotments != self.agreed.allotments,
                "somebody is to train another part of the module than was agreed for this run",
            ),
            *((self._broken(plan, term, client), f"{term} is not what was agreed for this run") for term in AGREED),
        )
        for refused, reason in refusals:
            if refused:
                raise PolicyError(f"{client} refuses round {plan.round}: {reason}")

    def _broken(self, plan: RoundPlan, term: str, client: str) -> bool:
        """Whether a term, as this client would follow it, is another one than it agreed to."""
        if self.agreed is None:
            return False
        if term == "clip_norm" and self.agreed.count_weight > 0:
            return False  # an adaptive clip norm follows released counts, and the noise is in units of it
        return getattr(plan.for_client(client), term) != getattr(self.agreed.for_client(client), term)


def simulated_policy(config: Config, client: str, *, agreed: RoundPlan) -> ClientPolicy:
    """The policy of a simulated client: exactly what the run's own configuration, and so its first plan, promises."""
    return ClientPolicy(
        min_cohort=config.secure_sum.min_cohort,
        adversarial_fraction=config.secure_sum.adversarial_fraction,
        max_epsilon=epsilon_limit(config, client),
        protocols=frozenset({config.secure_sum.protocol}),
        trusts_server=config.secure_sum.server == "curious",
        agreed=agreed,
    )
