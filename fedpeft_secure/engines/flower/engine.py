"""The Flower engine: rounds of the main job over nodes, in as few exchanges as the secure sum has messages.

A node's first message of the secure sum comes with the end of its training; all that a party is told or says in a turn
travels as one bundle. A masked sum that bears a lying server takes five exchanges, one that bears a curious one four.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

import dp
import secagg
from fedpeft_secure.adapters import AdapterState
from fedpeft_secure.clients.lower_layers import ActivationStore
from fedpeft_secure.config import Config
from fedpeft_secure.engines.flower.carrier import Carrier
from fedpeft_secure.engines.flower.nodes import Lost, Nodes
from fedpeft_secure.engines.flower.orders import CONTINUE, DONE, HOLD, STEP, TRAIN, Answer, bundle, join_parts, unbundle
from fedpeft_secure.engines.flower.terms import Terms
from fedpeft_secure.engines.rounds import CONTINUE as CONTINUE_PHASE
from fedpeft_secure.engines.rounds import TRAIN as TRAIN_PHASE
from fedpeft_secure.engines.rounds import RoundOutcome, play_round
from fedpeft_secure.errors import ConfigError
from fedpeft_secure.events import ClientTrained, Listener, Notice
from fedpeft_secure.model_digest import base_digest
from fedpeft_secure.plans import RoundPlan
from fedpeft_secure.secure_sums import secure_sum
from fedpeft_secure.server.federation import Federation, federation_of, load_data
from fedpeft_secure.setting import decide_all, load_setting
from fedpeft_secure.version import __version__

ASKED = b"asked"
"""What the server's own ledger holds for a release: it never sees a contribution."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Deadlines:
    """Seconds after which who has not answered has vanished: from a join, from training, from a step of the sum."""

    join_seconds: float
    train_seconds: float
    step_seconds: float


@dataclass(kw_only=True, slots=True, eq=False)
class FlowerEngine:
    """Clients on machines of their own.

    Guarantee: the server's ledger is charged for everybody whom it asks before it asks, so that its figures are never
        below those of the clients' own ledgers, which alone decide what leaves them.

    Args:
        carrier: brings bytes to nodes.
        identity, directory: the server's key, and everybody's pinned public ones.
        deadlines: how long to wait.
        lost: told about missing answers.
        nodes, terms: of the run, once it is gathered.
    """

    carrier: Carrier = field(repr=False)
    identity: secagg.Identity = field(repr=False)
    directory: secagg.KeyDirectory = field(repr=False)
    deadlines: Deadlines
    lost: Lost = field(repr=False)
    nodes: Nodes | None = field(default=None, repr=False)
    terms: bytes = field(default=b"", repr=False)

    def gather(
        self, config: Config, *, run: str, ledger: dp.Ledger, ledger_path: Path, listen: Listener,
        store: ActivationStore | None,
    ) -> Federation:  # fmt: skip
        """Sets up the server and asks who is there; see `Engine.gather`."""
        del ledger_path
        missing = sorted(set(config.client_names) - set(self.directory.members))
        if missing:
            raise ConfigError(f"clients.count: {missing[0]} is not in the key directory; add its key, or lower it")
        decided = decide_all(config, listen=listen)
        if decided.config.secure_sum.protocol in secagg.ONE_MESSAGE and not self.directory.key_holder:
            raise ConfigError("secure_sum.protocol: the key directory names no key holder; make one that does")
        data = load_data(decided.config, listen=listen)
        setting = load_setting(decided, run=run, classes=data.classes, listen=listen, store=store)
        self.terms = Terms(
            config=decided.config.to_dict(),
            classes=list(data.classes),
            version=__version__,
            directory=self.directory.fingerprint.hex(),
            base=base_digest(setting.backbone.model),
        ).to_bytes()
        self.nodes = Nodes(
            carrier=self.carrier, identity=self.identity, directory=self.directory, run=run, lost=self.lost
        )
        self._find(decided.config, listen, patience=self.deadlines.join_seconds)
        return federation_of(
            setting,
            replace(data, clients=()),
            ledger=ledger,
            clients={},
            keys=secagg.Cohort(identities={}, directory=self.directory),
            key_holder=None,
        )

    def repeats(self, config: Config) -> bool:
        """Never: what was uploaded is never asked for again under other masks."""
        del config
        return False

    def play(self, federation: Federation, plan: RoundPlan, state: AdapterState, *, listen: Listener) -> RoundOutcome:
        """Plays one round; see `Engine.play`."""
        nodes = self._find(federation.config, listen, patience=0.0)
        accounts = federation.accounts
        for name in plan.cohort:
            accounts[name].charge(plan, ASKED)
        wire = OverNodes(
            nodes=nodes, terms=self.terms, directory=self.directory, deadlines=self.deadlines, listen=listen
        )
        return play_round(
            plan,
            state,
            wire,
            strategy=federation.strategy,
            directory=self.directory,
            spec=federation.backbone.spec,
            listen=listen,
            start=federation.sent_from,
        )

    def _find(self, config: Config, listen: Listener, *, patience: float) -> Nodes:
        if self.nodes is None:
            raise ConfigError("the engine has gathered nobody; call gather first")
        third = {secagg.messages.KEY_HOLDER} if config.secure_sum.protocol in secagg.ONE_MESSAGE else set()
        wanted = frozenset(config.client_names) | third
        refusals = self.nodes.find(wanted, self.terms, patience=patience, seconds=self.deadlines.join_seconds)
        for name, reason in refusals.items():
            listen(Notice(text=f"{name} does not join: {reason}"))
        return self.nodes


@dataclass(kw_only=True, slots=True, eq=False)
class OverNodes:
    """One round over nodes; a `Wire`.

    Args:
        nodes: who can be reached.
        terms: the run's.
        directory: everybody's pinned public keys.
        deadlines: how long to wait.
        listen: told about progress.
        transcript, refusals: so far.
        first: what clients said when they opened a session, not read yet.
        sums: the plan of the sum that is played.
        open: clients that have an open session.
    """

    nodes: Nodes
    terms: bytes = field(repr=False)
    directory: secagg.KeyDirectory = field(repr=False)
    deadlines: Deadlines
    listen: Listener = field(repr=False)
    transcript: secagg.Transcript = field(default_factory=secagg.Transcript, repr=False)
    refusals: tuple[str, ...] = ()
    first: tuple[secagg.Envelope, ...] = field(default=(), repr=False)
    sums: secagg.SumPlan | None = None
    open: frozenset[str] = frozenset()

    def train(self, plan: RoundPlan, request: bytes) -> frozenset[str]:
        """Everybody trains at once, and sends the first message of the sum with the news."""
        body = join_parts(self.terms, request)
        return self._start(plan, TRAIN, TRAIN_PHASE, request, body, seconds=self.deadlines.train_seconds)

    def go_on(self, plan: RoundPlan, request: bytes) -> frozenset[str]:
        """The same clients encode for another sum."""
        return self._start(plan, CONTINUE, CONTINUE_PHASE, request, request, seconds=self.deadlines.step_seconds)

    def add_up(self, plan: RoundPlan, sums: secagg.SumPlan) -> secagg.Aggregate:
        """Plays the server's half of the sum; see `Wire.add_up`."""
        self.sums = sums
        server = secure_sum(plan).server(sums, directory=self.directory)
        try:
            return secagg.serve(server, self._turn)
        except secagg.RoundFailedError as error:
            reason = f"{error}; refused by {self.refusals[0]}" if self.refusals else str(error)
            raise secagg.RoundFailedError(reason) from error

    def _start(
        self, plan: RoundPlan, kind: str, phase: str, request: bytes, body: bytes, *, seconds: float
    ) -> frozenset[str]:
        self._record(
            secagg.Envelope(sender=secagg.SERVER, recipient=name, phase=phase, payload=request) for name in plan.cohort
        )
        answers = self.nodes.ask(kind, dict.fromkeys(plan.cohort, body), seconds=seconds)
        said = self._heard(answers)
        self.open = frozenset(said)
        self.first = tuple(envelope for name in sorted(said) for envelope in said[name])
        if kind == TRAIN:
            for position, name in enumerate(sorted(said), start=1):
                self.listen(ClientTrained(round=plan.round, client=name, position=position, cohort=len(plan.cohort)))
        return self.open

    def _turn(self, said: tuple[secagg.Envelope, ...]) -> tuple[secagg.Envelope, ...]:
        """Delivers what the server says, and waits for what is said to that."""
        first = self._first_messages()
        self._record(said)
        found = [*first, *self._holder(said, announce=not said)]
        bodies: dict[str, list[secagg.Envelope]] = {}
        for envelope in said:
            if envelope.recipient in self.open:
                bodies.setdefault(envelope.recipient, []).append(envelope)
        answers = self.nodes.ask(
            STEP, {name: bundle(inbox) for name, inbox in bodies.items()}, seconds=self.deadlines.step_seconds
        )
        heard = self._heard(answers)
        self.open -= set(bodies) - set(heard)
        found += [envelope for name in sorted(heard) for envelope in heard[name]]
        self._record(found)
        return tuple(found)

    def _first_messages(self) -> tuple[secagg.Envelope, ...]:
        """What the clients of this sum said when they opened a session; those of other groups wait for theirs."""
        here = () if self.sums is None else self.sums.clients
        first = tuple(envelope for envelope in self.first if envelope.sender in here)
        self.first = tuple(envelope for envelope in self.first if envelope.sender not in here)
        return first

    def _holder(self, said: Iterable[secagg.Envelope], *, announce: bool) -> tuple[secagg.Envelope, ...]:
        """What the third party says, in sums that have one: a key at the start, later the opened sum."""
        if self.sums is None or self.sums.protocol not in secagg.ONE_MESSAGE:
            return ()
        payloads = [envelope.payload for envelope in said if envelope.recipient == secagg.messages.KEY_HOLDER]
        if not (announce or payloads):
            return ()
        phase, payload = ("announce", b"") if announce else ("open", payloads[0])
        request = secagg.HolderRequest(plan=self.sums, phase=phase, payload=payload).to_bytes()
        holder = secagg.messages.KEY_HOLDER
        answers = self.nodes.ask(HOLD, {holder: request}, seconds=self.deadlines.step_seconds)
        return self._heard(answers).get(holder, ())

    def _heard(self, answers: dict[str, Answer]) -> dict[str, tuple[secagg.Envelope, ...]]:
        """What the parties said, by name; who refuses is out, with its reason."""
        found = {}
        for name, answer in answers.items():
            if answer.kind != DONE:
                self._refused(name, answer.reason)
                continue
            try:
                envelopes = unbundle(answer.body)
            except secagg.WireError as error:
                self._refused(name, str(error))
                continue
            found[name] = tuple(envelope for envelope in envelopes if envelope.sender == name)
        return found

    def _refused(self, name: str, reason: str) -> None:
        self.refusals += (f"{name}: {reason}",)

    def _record(self, envelopes: Iterable[secagg.Envelope]) -> None:
        self.transcript = self.transcript.extended(envelopes)
