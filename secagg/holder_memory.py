"""What the key holder remembers, so that a round's key opens one sum, whatever restarts in between."""

from dataclasses import dataclass, field, replace

from secagg.errors import RefusedError, WireError
from secagg.memory import ClientMemory
from secagg.plan import SumPlan
from secagg.wire import Reader, Writer

MAGIC = b"FSH\x02"
_DIGEST_BYTES = 32


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenRound:
    """A round whose key is announced and not yet used.

    Args: plan: digest of the round's plan. session: what clients bind their uploads to. secret: of the round's key.
    """

    plan: bytes
    session: bytes
    secret: bytes = field(repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class HolderMemory:
    """Keys that wait for their one request, and the rounds that were answered; stored before anything is sent.

    Guarantee: one announcement and one answer a plan; an answered round's key is gone. Without DP, the survivors of a
        sum differ by nobody or by at least min_cohort clients from those of any remembered one: of the last sum that
        held any client, since the groups of a round have a sum each.
    Assumes: it is stored with mode 0600, survives restarts, and no older copy is ever put back: what is stored is only
        ever replaced by a memory that `check_follows` it, or two sessions side by side would bring used keys back.
    """

    open: tuple[OpenRound, ...] = ()
    answered: tuple[bytes, ...] = ()
    last_survivors: tuple[tuple[str, ...], ...] = ()

    def check_new(self, plan_digest: bytes) -> None:
        """Refuses to announce a second key for a plan; raises RefusedError."""
        if plan_digest in self.answered or any(known.plan == plan_digest for known in self.open):
            raise RefusedError("a key for this round was announced before; plan another attempt")

    def with_open(self, plan_digest: bytes, *, session: bytes, secret: bytes) -> "HolderMemory":
        """Records a key that is about to be announced."""
        self.check_new(plan_digest)
        return replace(self, open=(*self.open, OpenRound(plan=plan_digest, session=session, secret=secret)))

    def waiting(self, plan_digest: bytes) -> OpenRound:
        """The announced round of a plan; raises RefusedError when it was answered, or never announced."""
        for known in self.open:
            if known.plan == plan_digest:
                return known
        if plan_digest in self.answered:
            raise RefusedError("this round was answered before; a second sum of the same round would expose somebody")
        raise RefusedError("no key was announced for this round; ask for an announcement first")

    def with_answer(self, plan: SumPlan, *, plan_digest: bytes, survivors: tuple[str, ...]) -> "HolderMemory":
        """Forgets the key and records the answer that is about to be given; raises RefusedError if it allows
        differencing."""
        for earlier in self.last_survivors:
            ClientMemory(last_survivors=earlier).with_survivors(plan, survivors)
        after = self.without(plan_digest)
        return after if plan.noised else replace(after, last_survivors=_latest((*self.last_survivors, survivors)))

    def without(self, plan_digest: bytes) -> "HolderMemory":
        """Forgets the key of a round and counts the round as answered."""
        used = self.waiting(plan_digest)
        return replace(
            self,
            open=tuple(known for known in self.open if known is not used),
            answered=(*self.answered, plan_digest),
        )

    def check_follows(self, stored: "HolderMemory") -> None:
        """Refuses to replace `stored` by this memory if the session that made it had not known it; raises RefusedError.

        A step adds one key that waits, or uses one up; another session's rounds stay as they are.
        """
        used = self.answered[len(stored.answered) :]
        left = tuple(known for known in stored.open if known.plan not in used)
        announced = not used and self.open[:-1] == left and self.last_survivors == stored.last_survivors
        answered = len(used) == 1 and self.open == left and len(left) == len(stored.open) - 1
        if self.answered[: len(stored.answered)] != stored.answered or not (self == stored or announced or answered):
            raise RefusedError("another session of this key holder has announced or answered meanwhile; open a new one")

    def to_bytes(self) -> bytes:
        """Encodes the memory, secrets included; `from_bytes` inverts it."""
        writer = Writer(MAGIC).uint(len(self.open), num_bytes=4)
        for known in self.open:
            writer.raw(known.plan).raw(known.session).blob(known.secret)
        writer.uint(len(self.answered), num_bytes=4).raw(b"".join(self.answered))
        writer.uint(len(self.last_survivors), num_bytes=4)
        for names in self.last_survivors:
            writer.uint(len(names), num_bytes=4)
            for name in names:
                writer.text(name)
        return writer.done()

    @classmethod
    def from_bytes(cls, data: bytes) -> "HolderMemory":
        """Parses strictly; raises WireError."""
        reader = Reader(data=data, what="key holder's state").magic(MAGIC)
        waiting = []
        for _ in range(reader.uint(num_bytes=4)):
            plan, session = reader.raw(_DIGEST_BYTES), reader.raw(_DIGEST_BYTES)
            waiting.append(OpenRound(plan=plan, session=session, secret=reader.blob()))
        answered = []
        for _ in range(reader.uint(num_bytes=4)):
            answered.append(reader.raw(_DIGEST_BYTES))
        survivors = []
        for _ in range(reader.uint(num_bytes=4)):
            survivors.append(tuple([reader.text() for _ in range(reader.uint(num_bytes=4))]))
        reader.end()
        if any(list(names) != sorted(set(names)) for names in survivors):
            raise WireError("key holder's state: survivors are not unique and sorted")
        return cls(open=tuple(waiting), answered=tuple(answered), last_survivors=tuple(survivors))


def _latest(survivors: tuple[tuple[str, ...], ...]) -> tuple[tuple[str, ...], ...]:
    """Of survivor sets in order, those that are the latest of any of their clients."""
    kept: list[tuple[str, ...]] = []
    seen: set[str] = set()
    for names in reversed(survivors):
        if not set(names) <= seen:
            kept.append(names)
        seen |= set(names)
    return tuple(reversed(kept))
