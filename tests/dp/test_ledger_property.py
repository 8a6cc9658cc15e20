"""Whatever is charged in whatever order, over reopenings: the ledger equals a list, and no budget is exceeded."""

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from dp import BudgetExceeded, Ledger, LedgerError, PrivacyBudget, ReleaseId, SampledGaussian, compose

CLIENTS = st.sampled_from(["a", "b"])
EVENTS = st.builds(
    SampledGaussian,
    noise_multiplier=st.sampled_from([0.9, 2.0]),
    sample_rate=st.just(0.2),
    steps=st.integers(1, 4),
)
BUDGETS = st.sampled_from([PrivacyBudget(epsilon=e, delta=1e-5) for e in (1.5, 4.0, 12.0)])


class LedgerIsAList(RuleBasedStateMachine):
    @initialize()
    def open(self):
        self.folder = Path(tempfile.mkdtemp())
        self.ledger = Ledger.open(self.folder / "ledger.sqlite")
        self.charged = []

    def teardown(self):
        if hasattr(self, "ledger"):
            self.ledger.close()
            shutil.rmtree(self.folder)

    def total(self, client, *more):
        return compose((*(e for c, _, e, _ in self.charged if c == client), *more), delta=1e-5, accountant="rdp")

    @rule(client=CLIENTS, event=EVENTS, budget=BUDGETS, data=st.binary(max_size=20))
    def charge(self, client, event, budget, data):
        release = ReleaseId(run="run", round=len(self.charged))
        arguments = {"client": client, "event": event, "budget": budget, "accountant": "rdp"}
        if self.total(client, event) > budget.epsilon:
            for attempt in (self.ledger.check, lambda **a: self.ledger.charge(release=release, contribution=data, **a)):
                with pytest.raises(BudgetExceeded):
                    attempt(**arguments)
            assert self.ledger.contribution(client, release) is None
        else:
            expected = self.ledger.check(**arguments)
            assert self.ledger.charge(release=release, contribution=data, **arguments) == expected
            assert expected.epsilon <= budget.epsilon
            self.charged.append((client, release, event, data))

    @rule(number=st.integers(0, 30), data=st.binary(max_size=20))
    def charge_again(self, number, data):
        if number >= len(self.charged):
            return
        client, release, event, stored = self.charged[number]
        arguments = {
            "client": client,
            "release": release,
            "event": event,
            "budget": PrivacyBudget(epsilon=1e-3, delta=1e-5),
            "accountant": "rdp",
        }
        assert self.ledger.charge(contribution=stored, **arguments).epsilon == self.total(client)
        if data != stored:
            with pytest.raises(LedgerError):
                self.ledger.charge(contribution=data, **arguments)

    @rule()
    def reopen(self):
        head = self.ledger.head()
        self.ledger.close()
        self.ledger = Ledger.open(self.folder / "ledger.sqlite")
        self.ledger.verify(head=head)

    @invariant()
    def equals_the_list(self):
        if not hasattr(self, "ledger"):
            return
        assert self.ledger.head().count == len(self.charged)
        for client in ("a", "b"):
            mine = [(r, e) for c, r, e, _ in self.charged if c == client]
            assert [(c.release, c.event) for c in self.ledger.history(client)] == mine
            spent = self.ledger.spent(client, delta=1e-5, accountant="rdp").epsilon
            assert spent == self.total(client)
        for client, release, _, data in self.charged:
            assert self.ledger.contribution(client, release) == data


TestLedgerIsAList = LedgerIsAList.TestCase
TestLedgerIsAList.settings = settings(max_examples=12, stateful_step_count=15, deadline=None)
