"""What an engine is: it sets up the parties of a run, and plays its rounds. All else is the same for every engine."""

from pathlib import Path
from typing import Protocol

import dp
from fedpeft_secure.adapters import AdapterState
from fedpeft_secure.clients.lower_layers import ActivationStore
from fedpeft_secure.config import Config
from fedpeft_secure.engines.rounds import RoundOutcome
from fedpeft_secure.events import Listener
from fedpeft_secure.plans import RoundPlan
from fedpeft_secure.server.federation import Federation


class Engine(Protocol):
    """Where the clients are, and how messages travel to them."""

    def gather(
        self, config: Config, *, run: str, ledger: dp.Ledger, ledger_path: Path, listen: Listener,
        store: ActivationStore | None,
    ) -> Federation:  # fmt: skip
        """Sets up every party, as `build_federation` does.

        Raises:
            InputError: If data, model, budgets or the ledger cannot be used.
        """
        ...

    def repeats(self, config: Config) -> bool:
        """Whether an interrupted round is played again, from the clients' stored bytes; else it is closed for good."""
        ...

    def play(self, federation: Federation, plan: RoundPlan, state: AdapterState, *, listen: Listener) -> RoundOutcome:
        """Plays one round."""
        ...
