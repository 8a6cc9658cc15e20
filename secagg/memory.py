"""What a client remembers between rounds, so that no two answers of its own can be subtracted from each other."""

from dataclasses import dataclass, field, replace

from secagg.errors import RefusedError, WireError
from secagg.plan import SumPlan
from secagg.wire import Reader, Writer

MEMORY_MAGIC = b"FSR\x01"
_DIGEST_BYTES = 32


@dataclass(frozen=True, kw_only=True, slots=True)
class Upload:
    """One upload that has (or may have) left: which attempt, which contribution, and the digest of the sent bytes."""

    run: str
    round: int
    attempt: int
    model: bytes
    contribution: bytes
    payload: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class ClientMemory:
    """Everything sent so far, by digest; public enough to store in clear, and stored before anything is sent.

    Guarantee: an attempt, a contribution and (without DP) a model are uploaded once: only the very same bytes are ever
        sent again. Without DP, two rounds' survivors differ by nobody or by at least min_cohort clients.
    Assumes: the memory survives restarts; whoever resets it, resets the rules. What is stored is only ever replaced by
        a memory that `check_follows` it, or two sessions side by side would each answer once.
    """

    uploads: tuple[Upload, ...] = ()
    last_survivors: tuple[str, ...] = field(default=())

    def check_start(self, plan: SumPlan, *, name: str, contribution: bytes) -> None:
        """Refuses a plan whose upload would be a second answer; raises RefusedError."""
        here = (plan.round, plan.attempt)
        for upload in self.uploads:
            there = (upload.round, upload.attempt)
            if upload.run == plan.run and there == here:
                if upload.contribution != contribution:
                    raise RefusedError(f"round {here[0]} attempt {here[1]} was already answered; plan another attempt")
                continue
            if upload.run == plan.run and there > here:
                raise RefusedError(f"round {here[0]} attempt {here[1]} is older than what was already answered")
            if upload.contribution == contribution:
                raise RefusedError("this contribution was sent before; another attempt needs a new release")
            if not plan.noised and plan.manifest.parts and upload.model == plan.manifest.model_digest(name):
                raise RefusedError("this model was already answered without DP; answering again would expose somebody")

    def with_upload(self, plan: SumPlan, *, name: str, contribution: bytes, payload: bytes) -> "ClientMemory":
        """Adds an upload; raises RefusedError if other bytes were sent for the same attempt."""
        new = Upload(
            run=plan.run,
            round=plan.round,
            attempt=plan.attempt,
            model=plan.manifest.model_digest(name),
            contribution=contribution,
            payload=payload,
        )
        for old in self.uploads:
            if (old.run, old.round, old.attempt) == (new.run, new.round, new.attempt):
                if old != new:
                    raise RefusedError("this attempt was already uploaded under other masks; plan another attempt")
                return self
        return replace(self, uploads=(*self.uploads, new))

    def with_survivors(self, plan: SumPlan, survivors: tuple[str, ...]) -> "ClientMemory":
        """Records a survivor set that is about to be unmasked; raises RefusedError if it allows differencing."""
        if plan.noised:
            return self
        changed = set(survivors) ^ set(self.last_survivors)
        if self.last_survivors and 0 < len(changed) < plan.min_cohort:
            raise RefusedError(
                f"survivors differ from the last round's by {len(changed)}, fewer than min_cohort = {plan.min_cohort}: "
                "the difference would expose them"
            )
        return replace(self, last_survivors=survivors)

    def check_follows(self, stored: "ClientMemory") -> None:
        """Refuses to replace `stored` by this memory if the session that made it had not known it; raises RefusedError.

        A session adds to the uploads that it knew, or replaces the last survivors on top of the very same uploads.
        """
        known = self.uploads[: len(stored.uploads)] == stored.uploads
        if not known or (self.uploads != stored.uploads and self.last_survivors != stored.last_survivors):
            raise RefusedError("another session has sent something since this one began; open a new one")

    def to_bytes(self) -> bytes:
        """Encodes the memory; `from_bytes` inverts it."""
        writer = Writer(MEMORY_MAGIC).uint(len(self.uploads), num_bytes=4)
        for upload in self.uploads:
            writer.text(upload.run).uint(upload.round, num_bytes=8).uint(upload.attempt, num_bytes=8)
            writer.raw(upload.model).raw(upload.contribution).raw(upload.payload)
        writer.uint(len(self.last_survivors), num_bytes=4)
        for name in self.last_survivors:
            writer.text(name)
        return writer.done()

    @classmethod
    def from_bytes(cls, data: bytes) -> "ClientMemory":
        """Parses strictly; raises WireError."""
        reader = Reader(data=data, what="client memory").magic(MEMORY_MAGIC)
        uploads = []
        for _ in range(reader.uint(num_bytes=4)):
            uploads.append(
                Upload(
                    run=reader.text(),
                    round=reader.uint(num_bytes=8),
                    attempt=reader.uint(num_bytes=8),
                    model=reader.raw(_DIGEST_BYTES),
                    contribution=reader.raw(_DIGEST_BYTES),
                    payload=reader.raw(_DIGEST_BYTES),
                )
            )
        survivors = tuple([reader.text() for _ in range(reader.uint(num_bytes=4))])
        reader.end()
        if list(survivors) != sorted(set(survivors)):
            raise WireError("client memory: survivors are not unique and sorted")
        return cls(uploads=tuple(uploads), last_survivors=survivors)
