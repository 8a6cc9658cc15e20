"""A client on a machine of its own: it judges what the server asks by its own policy, works, and signs its answers.

One long-lived process holds the key, the data, the ledger and the secrets of the open session. What carries messages
talks to it over a socket and sees only signed bytes.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import dp
import secagg
from fedpeft_secure.clients.client import FAILURES, Client
from fedpeft_secure.clients.data_guard import check_same_data
from fedpeft_secure.clients.groups import group_names
from fedpeft_secure.clients.policy_file import PolicyFile
from fedpeft_secure.engines.flower.inbox import Inbox
from fedpeft_secure.engines.flower.kept_terms import keep_terms
from fedpeft_secure.engines.flower.orders import (
    CONTINUE,
    DONE,
    HOLD,
    JOIN,
    MOST_REASON_BYTES,
    REFUSED,
    STEP,
    TRAIN,
    Answer,
    Order,
    bundle,
    order_digest,
    split_parts,
    unbundle,
)
from fedpeft_secure.engines.flower.own_data import check_described, read_own_data
from fedpeft_secure.engines.flower.settings import NodeSettings
from fedpeft_secure.engines.flower.terms import Terms
from fedpeft_secure.errors import ConfigError, FedPeftError, PolicyError
from fedpeft_secure.events import ignore
from fedpeft_secure.model_digest import base_digest
from fedpeft_secure.preflight import check
from fedpeft_secure.setting import Holdings, build_client, decide_all, divide, load_setting

Log = Callable[[str], None]
TOLD = (PolicyError, ConfigError, dp.BudgetExceeded, secagg.ProtocolError)
"""Their messages speak of public things, and travel; what else goes wrong is told to the owner only."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Joined:
    """A run that this node takes part in."""

    run: str
    terms: bytes
    client: Client = field(repr=False)


@dataclass(kw_only=True, slots=True, eq=False)
class Node:
    """One client's worker.

    Guarantee: orders of anybody but the pinned server, and orders that were obeyed before, get no answer at all.
        Session secrets live in this object only: a node that was restarted has none, so that it drops out of the round
        that it was in, and what it was charged stands.

    Args:
        settings: its owner's.
        identity, directory: its key, and everybody's pinned public ones.
        policy: its owner's terms.
        ledger: open for as long as the node lives.
        inbox: which orders it obeys.
        log: told what happens, without secrets and without data.
    """

    settings: NodeSettings
    identity: secagg.Identity = field(repr=False)
    directory: secagg.KeyDirectory = field(repr=False)
    policy: PolicyFile
    ledger: dp.Ledger = field(repr=False)
    inbox: Inbox
    log: Log = field(repr=False)
    joined: Joined | None = field(default=None, repr=False)
    session: secagg.ClientSession | None = field(default=None, repr=False)

    def answer(self, data: bytes) -> bytes | None:
        """Obeys one order; None where it gets no answer.

        Args:
            data: bytes of an `Order`, from whoever.

        Returns:
            The bytes of a signed `Answer`.
        """
        try:
            order = self.inbox.accept(data)
        except (secagg.WireError, FedPeftError) as error:
            self.log(f"ignored: {error}")
            return None
        kind, body = DONE, b""
        try:
            body = self._obey(order)
            self.log(f"{order.kind}: done")
        except TOLD as error:
            kind, body = REFUSED, str(error).encode()[:MOST_REASON_BYTES]
            self.log(f"{order.kind}: refused: {error}")
        except (FedPeftError, OSError, *FAILURES) as error:
            kind, body = REFUSED, f"{self.settings.name} cannot go on; its own log says why".encode()
            self.log(f"{order.kind}: failed: {error}")
        if kind == REFUSED:
            self.session = None
        return Answer(order=order_digest(data), sender=self.settings.name, kind=kind, body=body).signed(self.identity)

    def _obey(self, order: Order) -> bytes:
        if order.kind == JOIN:
            self._join(order.run, order.body)
            return b""
        if order.kind == TRAIN:
            terms, request = split_parts(order.body)
            client = self._join(order.run, terms)
            self.session = None  # whatever was open is over
            self.session = client.open_session(request)
            return self._step(order, ())
        if order.kind == CONTINUE:
            self.session = None
            self.session = self._client(order).open_next_session(order.body)
            return self._step(order, ())
        if order.kind == STEP:
            return self._step(order, unbundle(order.body))
        raise PolicyError(f"{self.settings.name} is no key holder: it does not obey {HOLD!r}")

    def _client(self, order: Order) -> Client:
        if self.joined is None or self.joined.run != order.run:
            raise PolicyError(f"{self.settings.name} was restarted within the round, and drops out of it")
        return self.joined.client

    def _step(self, order: Order, inbox: tuple[secagg.Envelope, ...]) -> bytes:
        client, session = self._client(order), self.session
        if session is None or session.done:
            raise PolicyError(f"{self.settings.name} has no open session: it was restarted, or has refused")
        self.session = None  # a session that raises is over
        session, sent = session.step(inbox)
        if sent:
            client.remember(session.memory)
        self.session = session
        return bundle(sent)

    def _join(self, run: str, data: bytes) -> Client:
        """Takes part in a run, if the owner's policy allows it; loads model and data when the terms are new."""
        if self.joined is not None and (self.joined.run, self.joined.terms) == (run, data):
            return self.joined.client
        self.joined = self.session = None
        terms, settings = Terms.from_bytes(data), self.settings
        config = terms.configuration(model=settings.model)
        self.policy.check_run(config, client=settings.name, version=terms.version)
        if terms.directory != self.directory.fingerprint.hex():
            raise PolicyError(f"{settings.name} refuses the run: it has pinned another key directory")
        self.policy.check_model(terms.base, client=settings.name, expected=terms.base)
        check_described(settings, config, classes=tuple(terms.classes))
        check(config)
        keep_terms(settings.ledger, terms, run=run, client=settings.name)
        setting = load_setting(decide_all(config, listen=ignore), run=run, classes=tuple(terms.classes), listen=ignore)
        self.policy.check_model(base_digest(setting.backbone.model), client=settings.name, expected=terms.base)
        texts = read_own_data(settings)
        groups = group_names(texts, config, settings.name)
        check_same_data(
            settings.ledger,
            {settings.name: texts},
            {settings.name: groups} if groups else None,
            charges=self.ledger.head().count,
        )
        training, held_out = divide(texts, config, settings.name)
        holdings = Holdings(
            texts=training,
            held_out=held_out,
            policy=self.policy.client_policy(config, settings.name, agreed=setting.agreed),
            identity=self.identity,
            directory=self.directory,
            ledger=self.ledger,
            ledger_path=settings.ledger,
            simulated=False,
        )
        client = build_client(setting, settings.name, holdings)
        if settings.physical_batch is not None:
            client = replace(client, physical_batch=min(settings.physical_batch, client.physical_batch))
        self.joined = Joined(run=run, terms=data, client=client)
        return client


def open_node(settings: NodeSettings, ledger: dp.Ledger, *, log: Log) -> Node:
    """A node with its key, directory and policy read, and its examples tried: a bad row stops it here, not in a run.

    Raises:
        InputError: If one of them cannot be used.
    """
    identity, directory = settings.load_identity(), settings.load_directory()
    if directory.members.get(settings.name) != identity.public:
        raise ConfigError(
            f"name: {settings.name!r} does not have this identity in {settings.directory}; give the node's own name, "
            "or the newest directory"
        )
    read_own_data(settings)
    return Node(
        settings=settings,
        identity=identity,
        directory=directory,
        policy=PolicyFile.load(settings.policy),
        ledger=ledger,
        inbox=Inbox(
            name=settings.name, server_key=bytes.fromhex(settings.server_key), path=numbers_file(settings.ledger)
        ),
        log=log,
    )


def numbers_file(beside: Path) -> Path:
    """Where the number of the newest order is kept."""
    return beside.with_name(f"{beside.name}.order")
