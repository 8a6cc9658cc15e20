"""The key holder as a party of its own: its identity and memory in a directory, or in memory for a simulation."""

import fcntl
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import secagg
from fedpeft_secure.errors import InputError, PolicyError
from fedpeft_secure.plans import RoundPlan
from fedpeft_secure.rundir import write_atomically
from fedpeft_secure.secure_sums import secure_sum
from fedpeft_secure.seeds import Seed

Parsed = TypeVar("Parsed")

IDENTITY, STATE, LOCK = "identity.key", "state.bin", ".lock"


@dataclass(kw_only=True, slots=True, eq=False)
class SimulatedKeyHolder:
    """The third party of a run in one process; it remembers for as long as the process lives.

    Args:
        keys: everybody's identities, its own among them.
        min_cohort: fewest clients whose sum it opens.
        seed: of its keys, in simulation.
        memory: keys that wait, and rounds that it answered.
    """

    keys: secagg.Cohort = field(repr=False)
    min_cohort: int
    seed: Seed
    memory: secagg.HolderMemory = field(default_factory=secagg.HolderMemory, repr=False)

    def session(self, plan: RoundPlan, sums: secagg.SumPlan) -> secagg.HolderSession | None:
        """Opens a round's session; None where the round's protocol has no third party.

        Raises:
            PolicyError: If the plan asks for sums of fewer clients than this party accepts.
        """
        if plan.protocol not in secagg.ONE_MESSAGE:
            return None
        if plan.min_cohort < self.min_cohort:
            raise PolicyError(f"the key holder refuses round {plan.round}: min_cohort is below {self.min_cohort}")
        stream = self.seed.child("key holder", sums.digest().hex())
        return secagg.key_holder_session(
            secure_sum(plan),
            sums,
            self.keys,
            memory=self.memory,
            entropy=secagg.seeded_entropy(stream.bytes(32)),
        )

    def keep(self, memory: secagg.HolderMemory) -> None:
        """Remembers what is about to be sent.

        Raises:
            secagg.RefusedError: If another session has sent something meanwhile.
        """
        memory.check_follows(self.memory)
        self.memory = memory


def make_key_holder(folder: Path, *, passphrase: bytes = b"") -> secagg.Identity:
    """Makes a key holder's directory with a new identity and an empty memory, for the owner's eyes only.

    Args:
        folder: a new directory.
        passphrase: encrypts the identity; empty for none.

    Raises:
        InputError: If something is there already, or it cannot be written.
    """
    identity = secagg.Identity.generate()
    try:
        folder.mkdir(mode=0o700, parents=True)
        try:
            write_atomically(folder / STATE, secagg.HolderMemory().to_bytes(), mode=0o600)
            identity.save(folder / IDENTITY, passphrase=passphrase)
        except BaseException:  # an interruption too: half a directory would stand in the way of the next one
            shutil.rmtree(folder, ignore_errors=True)
            raise
    except OSError as error:
        raise InputError(f"--out {folder}: {error.strerror}; give a new directory in one that can be written") from None
    return identity


def load_holder_identity(folder: Path, *, passphrase: bytes = b"") -> secagg.Identity:
    """The identity that `make_key_holder` made.

    Raises:
        InputError: If it is missing or damaged, or the passphrase is wrong.
    """
    return _parsed(folder / IDENTITY, lambda path: secagg.Identity.load(path, passphrase=passphrase))


def answer_request(
    folder: Path, request: bytes, *, identity: secagg.Identity, directory: Path, min_cohort: int
) -> bytes:
    """Answers one request of a server; the memory is on the disk before the answer is returned.

    Args:
        folder: what `make_key_holder` made.
        request: bytes of a `secagg.HolderRequest`.
        identity: the key holder's.
        directory: file with the pinned key directory.
        min_cohort: fewest clients whose sum is opened, whatever the plan says.

    Returns:
        The bytes of an envelope to the server.

    Raises:
        InputError: If a file is missing or damaged, or the memory cannot be stored.
        secagg.ProtocolError: If the request is malformed, or refused.
    """
    with _memory(folder) as memory:
        after, envelope = secagg.answer_holder_request(
            secagg.HolderRequest.from_bytes(request),
            identity=identity,
            directory=_parsed(directory, lambda path: secagg.KeyDirectory.from_bytes(path.read_bytes())),
            memory=memory,
            min_cohort=min_cohort,
        )
        try:
            write_atomically(folder / STATE, after.to_bytes(), mode=0o600)
        except OSError as error:
            raise InputError(
                f"{folder / STATE}: {error.strerror}; nothing was answered, make it writable and ask again"
            ) from None
    return envelope.to_bytes()


@contextmanager
def _memory(folder: Path) -> Iterator[secagg.HolderMemory]:
    """The memory, under a lock: two processes with one memory could each use a key once."""
    _parsed(folder / STATE, Path.read_bytes)  # no lock file in what is no key holder's directory
    with _parsed(folder / LOCK, lambda path: path.open("w")) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InputError(f"{folder}: another process answers for this key holder; wait for it") from None
        yield _parsed(folder / STATE, lambda path: secagg.HolderMemory.from_bytes(path.read_bytes()))


def _parsed(path: Path, parse: Callable[[Path], Parsed]) -> Parsed:
    try:
        return parse(path)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; `fedpeft key-holder init` makes a key holder") from None
    except secagg.ProtocolError as error:
        raise InputError(f"{path}: {error}; restore the newest copy of it") from None
