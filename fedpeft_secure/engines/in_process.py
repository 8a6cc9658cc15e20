"""The in-process engine: the same sessions and encoded messages as over a network, delivered by a function call."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import dp
import secagg
from fedpeft_secure.adapters import AdapterSpec, AdapterState
from fedpeft_secure.aggregation.round_strategy import RoundStrategy
from fedpeft_secure.clients.client import Client
from fedpeft_secure.clients.data_guard import check_same_data
from fedpeft_secure.clients.groups import group_names
from fedpeft_secure.clients.lower_layers import ActivationStore
from fedpeft_secure.config import Config
from fedpeft_secure.engines.dropouts import simulated_dropouts
from fedpeft_secure.engines.rounds import CONTINUE, TRAIN, RoundOutcome, play_round
from fedpeft_secure.engines.training_workers import training_workers
from fedpeft_secure.errors import PolicyError
from fedpeft_secure.events import ClientTrained, Listener
from fedpeft_secure.key_holder import SimulatedKeyHolder
from fedpeft_secure.plans import RoundPlan
from fedpeft_secure.secure_sums import secure_sum
from fedpeft_secure.server.federation import Federation, build_federation


@dataclass(frozen=True, slots=True)
class InProcess:
    """Simulated clients, all in this process; with `clients.workers` above 1 some others of this machine train them."""

    def gather(
        self, config: Config, *, run: str, ledger: dp.Ledger, ledger_path: Path, listen: Listener,
        store: ActivationStore | None,
    ) -> Federation:  # fmt: skip
        """Sets up every party; see `Engine.gather`."""
        federation = build_federation(
            config, run=run, ledger=ledger, ledger_path=ledger_path, listen=listen, store=store
        )
        holders = dict(zip(config.client_names, federation.data.clients, strict=True))
        groups = {name: group_names(texts, config, name) for name, texts in holders.items()}
        in_groups = {name: found for name, found in groups.items() if found}
        check_same_data(ledger_path, holders, in_groups, charges=ledger.head().count)
        if config.clients.workers == 1:
            return federation
        workers = federation.held.enter_context(
            training_workers(config, run=run, ledger_path=ledger_path, start=federation.sent_from)
        )
        clients = {name: replace(client, elsewhere=workers) for name, client in federation.clients.items()}
        return replace(federation, clients=clients)

    def repeats(self, config: Config) -> bool:
        """Always: stored contributions go out again as the same bytes, or, with secure noise, as another attempt."""
        del config
        return True

    def play(self, federation: Federation, plan: RoundPlan, state: AdapterState, *, listen: Listener) -> RoundOutcome:
        """Plays one round, with the configured dropouts; see `Engine.play`."""
        return run_round(
            plan,
            state,
            federation.clients,
            strategy=federation.strategy,
            spec=federation.backbone.spec,
            directory=federation.keys.directory,
            key_holder=federation.key_holder,
            drop=simulated_dropouts(federation.config, plan, secure_sum(plan).phases),
            listen=listen,
            start=federation.sent_from,
        )


def run_round(
    plan: RoundPlan,
    state: AdapterState,
    clients: Mapping[str, Client],
    *,
    strategy: RoundStrategy,
    spec: AdapterSpec,
    directory: secagg.KeyDirectory,
    key_holder: SimulatedKeyHolder | None = None,
    drop: Mapping[str, frozenset[str]],
    listen: Listener,
    start: AdapterState | None = None,
) -> RoundOutcome:
    """Plays one round among the clients of this process.

    Args:
        plan: the round's.
        state: the adapter that every client receives.
        clients: by name; those of the cohort take part.
        strategy: how updates are encoded.
        spec: the structure of the adapter.
        directory: the pinned keys.
        key_holder: the third party, where the protocol has one.
        drop: {phase of the secure sum: clients that vanish before it}, in simulation.
        listen: told about progress.
        start: as in `play_round`.
    """
    wire = FunctionCalls(
        clients=clients,
        recorder=secagg.Recorder(drop=drop),
        directory=directory,
        key_holder=key_holder,
        listen=listen,
    )
    return play_round(plan, state, wire, strategy=strategy, directory=directory, spec=spec, listen=listen, start=start)


@dataclass(kw_only=True, slots=True, eq=False)
class FunctionCalls:
    """The parties of one round, and their sessions; a `Wire`."""

    clients: Mapping[str, Client] = field(repr=False)
    recorder: secagg.Recorder
    directory: secagg.KeyDirectory = field(repr=False)
    key_holder: SimulatedKeyHolder | None = field(repr=False)
    listen: Listener = field(repr=False)
    sessions: dict[str, secagg.ClientSession] = field(default_factory=dict, repr=False)
    refusals: tuple[str, ...] = ()

    @property
    def transcript(self) -> secagg.Transcript:
        """Every message that was delivered so far."""
        return self.recorder.transcript

    def train(self, plan: RoundPlan, request: bytes) -> frozenset[str]:
        """Everybody trains; who refuses is left out, with its reason."""
        delivered = self._ask(TRAIN, plan.cohort, request)
        for envelope in delivered:
            self.clients[envelope.recipient].train_ahead(plan, envelope.payload)
        for position, envelope in enumerate(delivered, start=1):
            name = envelope.recipient
            try:
                self.sessions[name] = self.clients[name].open_session(envelope.payload)
            except (PolicyError, dp.BudgetExceeded, secagg.ProtocolError) as error:
                self.refusals += (f"{name}: {error}",)
                continue
            self.listen(ClientTrained(round=plan.round, client=name, position=position, cohort=len(plan.cohort)))
        return frozenset(self.sessions)

    def go_on(self, plan: RoundPlan, request: bytes) -> frozenset[str]:
        """The same clients encode for another sum."""
        self.sessions = {}
        for envelope in self._ask(CONTINUE, plan.cohort, request):
            name = envelope.recipient
            try:
                self.sessions[name] = self.clients[name].open_next_session(envelope.payload)
            except (PolicyError, secagg.ProtocolError) as error:
                self.refusals += (f"{name}: {error}",)
        return frozenset(self.sessions)

    def add_up(self, plan: RoundPlan, sums: secagg.SumPlan) -> secagg.Aggregate:
        """Steps all sessions; see `Wire.add_up`."""
        server = secure_sum(plan).server(sums, directory=self.directory)
        holder = self.key_holder
        third = None if holder is None else holder.session(plan, sums)
        keep = None if holder is None else holder.keep
        sessions = {name: session for name, session in self.sessions.items() if name in sums.clients}
        return secagg.drive(server, sessions, self.recorder, remember=self._remember, key_holder=third, keep=keep)

    def _ask(self, phase: str, names: tuple[str, ...], payload: bytes) -> tuple[secagg.Envelope, ...]:
        """Sends the same request to all of `names`; what arrives."""
        return self.recorder(
            tuple(secagg.Envelope(sender=secagg.SERVER, recipient=name, phase=phase, payload=payload) for name in names)
        )

    def _remember(self, name: str, memory: secagg.ClientMemory) -> None:
        self.clients[name].remember(memory)
