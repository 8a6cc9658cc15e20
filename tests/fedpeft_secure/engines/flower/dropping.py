"""The in-process engine with chosen dropouts in every round."""

from fedpeft_secure.adapters import AdapterState
from fedpeft_secure.engines.in_process import InProcess, run_round
from fedpeft_secure.engines.rounds import RoundOutcome
from fedpeft_secure.events import Listener
from fedpeft_secure.plans import RoundPlan
from fedpeft_secure.server.federation import Federation


class Dropping(InProcess):
    """Plays rounds from which the same clients vanish."""

    def __init__(self, drop: dict[str, frozenset[str]]) -> None:
        object.__setattr__(self, "drop", drop)

    def play(self, federation: Federation, plan: RoundPlan, state: AdapterState, *, listen: Listener) -> RoundOutcome:
        return run_round(
            plan,
            state,
            federation.clients,
            strategy=federation.strategy,
            spec=federation.backbone.spec,
            directory=federation.keys.directory,
            drop=self.drop,  # type: ignore[attr-defined]
            listen=listen,
        )
