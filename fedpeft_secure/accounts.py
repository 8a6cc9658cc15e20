"""A client's account on a ledger: what a round's release is, whether there is room for it, and its charge."""

from dataclasses import dataclass, field, replace

import dp
from fedpeft_secure.budgets import ClientBudget
from fedpeft_secure.config import PrivacyConfig
from fedpeft_secure.plans import RoundPlan


@dataclass(frozen=True, kw_only=True, slots=True)
class Account:
    """One client's releases.

    Guarantee: all charges of the client on this ledger together stay within its limit, and those of each run within
        what was agreed for that run.

    Args:
        client: its name.
        budget: its plan for the run.
        privacy: unit, relation and accountant.
        ledger: the client's own; at a server that does not simulate its clients, its record of what it asked them for.
        total_epsilon: the most that all runs on the ledger may spend together; None for what this run may.
    """

    client: str
    budget: ClientBudget
    privacy: PrivacyConfig
    ledger: dp.Ledger = field(repr=False)
    total_epsilon: float | None = None

    def event(self, plan: RoundPlan) -> dp.PrivacyEvent:
        """What this release is, from the plan that is followed, not from the one that was promised."""
        own = plan.for_client(self.client)
        if self.budget.client_noise is not None:
            return self.budget.client_noise.event(steps=1)
        if not self.budget.private:
            return dp.NonPrivate(steps=own.local_steps)
        noise_multiplier = self.budget.noise_multiplier
        if own.groups:
            groups = tuple(sorted((group.name, group.sample_rate) for group in own.groups))
            return dp.GroupedGaussian(noise_multiplier=noise_multiplier, groups=groups, steps=own.local_steps)
        return dp.SampledGaussian(noise_multiplier=noise_multiplier, sample_rate=own.sample_rate, steps=own.local_steps)

    def stored(self, plan: RoundPlan) -> bytes | None:
        """The contribution that was charged for this very release, if any."""
        return self.ledger.contribution(self.client, release_of(plan))

    def check(self, plan: RoundPlan) -> None:
        """Refuses before the work is done.

        Raises:
            dp.BudgetExceeded: Nothing was stored.
        """
        self._check_run(plan)
        self.ledger.check(
            client=self.client,
            event=self.event(plan),
            budget=self._limit,
            accountant=self.privacy.accountant,
            relation=self.privacy.relation,
            unit=self.privacy.unit,
        )

    def charge(self, plan: RoundPlan, contribution: bytes) -> None:
        """Stores the charge and what it pays for, in one transaction.

        Raises:
            dp.BudgetExceeded: Nothing was stored.
        """
        self._check_run(plan)
        self.ledger.charge(
            client=self.client,
            release=release_of(plan),
            event=self.event(plan),
            budget=self._limit,
            contribution=contribution,
            accountant=self.privacy.accountant,
            relation=self.privacy.relation,
            unit=self.privacy.unit,
        )

    def shortage(self, plan: RoundPlan) -> str:
        """Why the ledger has no room for this release, or empty: a public fact, asked before a cohort is chosen."""
        if self.stored(plan) is not None:
            return ""
        try:
            self.check(plan)
        except dp.BudgetExceeded as error:
            return str(error)
        return ""

    def spent(self) -> dp.PrivacySpent:
        """What the client has spent on this ledger so far."""
        return self.ledger.spent(
            self.client,
            delta=self.budget.delta,
            accountant=self.privacy.accountant,
            relation=self.privacy.relation,
        )

    @property
    def _limit(self) -> dp.PrivacyBudget:
        limit = self.budget.limit
        return limit if self.total_epsilon is None else replace(limit, epsilon=self.total_epsilon)

    def _check_run(self, plan: RoundPlan) -> None:
        """With a limit over all runs, each run still has its own: a server may ask for more rounds than it planned."""
        if self.total_epsilon is None or not self.budget.private:
            return
        release = release_of(plan)
        own = [
            charge.event
            for charge in self.ledger.history(self.client)
            if charge.release.run == plan.run and charge.release != release
        ]
        epsilon = dp.compose(
            (*own, self.event(plan)),
            delta=self.budget.delta,
            accountant=self.privacy.accountant,
            relation=self.privacy.relation,
        )
        if epsilon > self.budget.epsilon:
            raise dp.BudgetExceeded(
                f"client {self.client!r}: run {plan.run} would spend ε = {epsilon:.6g} of the "
                f"{self.budget.epsilon:g} that were agreed for it; start another run, or raise privacy.epsilon"
            )


def release_of(plan: RoundPlan) -> dp.ReleaseId:
    """The release that a plan asks for."""
    return dp.ReleaseId(run=plan.run, round=plan.round, attempt=plan.attempt)
