"""The key holder as a party of its own: its identity and memory in a directory, or in memory for a simulation."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import secagg
from fedpeft_secure.errors import InputError, PolicyError
from fedpeft_secure.plans import RoundPlan
from fedpeft_secure.rundir import write_atomically
from fedpeft_secure.secure_sums import secure_sum, sum_plan
from fedpeft_secure.seeds import Seed

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

    def session(self, plan: RoundPlan, *, dim: int) -> secagg.HolderSession | None:
        """Opens a round's session; None where the round's protocol has no third party.

        Raises:
            PolicyError: If the plan asks for sums of fewer clients than this party accepts.
        """
        if plan.protocol not in secagg.ONE_MESSAGE:
            return None
        if plan.min_cohort < self.min_cohort:
            raise PolicyError(f"the key holder refuses round {plan.round}: min_cohort is below {self.min_cohort}")
        stream = self.seed.child("key holder", plan.run, "round", plan.round, "attempt", plan.attempt)
        return secagg.key_holder_session(
            secure_sum(plan),
            sum_plan(plan, dim=dim, directory=self.keys.directory),
            self.keys,
            memory=self.memory,
            entropy=secagg.seeded_entropy(stream.bytes(32)),
        )

    def keep(self, memory: secagg.HolderMemory) -> None:
        """Remembers what is about to be sent."""
        self.memory = memory


def make_key_holder(folder: Path) -> secagg.Identity:
    """Makes a key holder's directory with a new identity and an empty memory, for the owner's eyes only.

    Raises:
        InputError: If something is there already, or it cannot be written.
    """
    try:
        folder.mkdir(mode=0o700, parents=True)
        identity = secagg.Identity.generate()
        identity.save(folder / IDENTITY)
        write_atomically(folder / STATE, secagg.HolderMemory().to_bytes(), mode=0o600)
    except OSError as error:
        raise InputError(f"--out {folder}: {error.strerror}; give a new directory in one that can be written") from None
    return identity


def answer_request(folder: Path, request: bytes, *, directory: Path, min_cohort: int) -> bytes:
    """Answers one request of a server; the memory is on the disk before the answer is returned.

    Args:
        folder: what `make_key_holder` made.
        request: bytes of a `secagg.HolderRequest`.
        directory: file with the pinned key directory.
        min_cohort: fewest clients whose sum is opened, whatever the plan says.

    Returns:
        The bytes of an envelope to the server.

    Raises:
        InputError: If a file is missing or damaged.
        secagg.ProtocolError: If the request is malformed, or refused.
    """
    with _memory(folder) as memory:
        known = secagg.HolderRequest.from_bytes(request)
        after, envelope = secagg.answer_holder_request(
            known,
            identity=secagg.Identity.load(folder / IDENTITY),
            directory=secagg.KeyDirectory.from_bytes(_read(directory)),
            memory=memory,
            min_cohort=min_cohort,
        )
        write_atomically(folder / STATE, after.to_bytes(), mode=0o600)
    return envelope.to_bytes()


@contextmanager
def _memory(folder: Path) -> Iterator[secagg.HolderMemory]:
    """The memory, under a lock: two processes with one memory could each use a key once."""
    _read(folder / STATE)  # no lock file in what is no key holder's directory
    with (folder / LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InputError(f"{folder}: another process answers for this key holder; wait for it") from None
        try:
            memory = secagg.HolderMemory.from_bytes(_read(folder / STATE))
        except secagg.WireError as error:
            raise InputError(f"{folder}: {error}; restore the newest state, or make a new key holder") from error
        yield memory


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; `fedpeft key-holder init` makes a key holder") from None
