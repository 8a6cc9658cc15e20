"""The key holder of the helper, CKKS and BFV sums as a party on a machine of its own."""

from collections.abc import Callable
from dataclasses import dataclass, field

import secagg
from fedpeft_secure.engines.flower.inbox import Inbox
from fedpeft_secure.engines.flower.node import numbers_file
from fedpeft_secure.engines.flower.orders import DONE, HOLD, JOIN, REFUSED, Answer, Order, bundle, order_digest
from fedpeft_secure.engines.flower.settings import HolderSettings
from fedpeft_secure.errors import FedPeftError, InputError
from fedpeft_secure.key_holder import IDENTITY, answer_request
from secagg.messages import KEY_HOLDER


@dataclass(frozen=True, kw_only=True, slots=True)
class Holder:
    """The key holder's worker; its memory is on the disk before an answer leaves.

    Args:
        settings: its owner's.
        identity: its key.
        inbox: which orders it obeys.
        log: told what happens.
    """

    settings: HolderSettings
    identity: secagg.Identity = field(repr=False)
    inbox: Inbox
    log: Callable[[str], None] = field(repr=False)

    def answer(self, data: bytes) -> bytes | None:
        """Obeys one order; None where it gets no answer, as `Node.answer`."""
        try:
            order = self.inbox.accept(data)
        except (secagg.WireError, FedPeftError) as error:
            self.log(f"ignored: {error}")
            return None
        kind, body = DONE, b""
        try:
            body = self._obey(order)
        except secagg.ProtocolError as error:
            kind, body = REFUSED, str(error).encode()
            self.log(f"{order.kind}: refused: {error}")
        except FedPeftError as error:
            kind, body = REFUSED, b"the key holder cannot go on; its own log says why"
            self.log(f"{order.kind}: failed: {error}")
        return Answer(order=order_digest(data), sender=KEY_HOLDER, kind=kind, body=body).signed(self.identity)

    def _obey(self, order: Order) -> bytes:
        if order.kind == JOIN:
            return b""
        if order.kind != HOLD:
            raise secagg.RefusedError(f"a key holder does not obey {order.kind!r}")
        answer = answer_request(
            self.settings.state,
            order.body,
            identity=self.identity,
            directory=self.settings.directory,
            min_cohort=self.settings.min_cohort,
        )
        return bundle((secagg.Envelope.from_bytes(answer),))


def open_holder(settings: HolderSettings, *, log: Callable[[str], None]) -> Holder:
    """A key holder with its key read.

    Raises:
        InputError: If key or directory cannot be used.
    """
    identity = settings.load_identity()
    if settings.load_directory().key_holder != identity.public:
        raise InputError(f"identity: {settings.directory} names another key holder; give the newest directory")
    inbox = Inbox(
        name=KEY_HOLDER, server_key=bytes.fromhex(settings.server_key), path=numbers_file(settings.state / IDENTITY)
    )
    return Holder(settings=settings, identity=identity, inbox=inbox, log=log)
