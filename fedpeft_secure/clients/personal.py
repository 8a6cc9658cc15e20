"""What a client keeps for itself from round to round: personal factors or heads, control variates. Never sent."""

import re
from collections.abc import Mapping, Set
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from fedpeft_secure.adapters import AdapterState
from fedpeft_secure.aggregation.controlled import ENDING as CONTROL
from fedpeft_secure.aggregation.round_strategy import Start
from fedpeft_secure.clients.training import LocalUpdate
from fedpeft_secure.errors import PolicyError
from fedpeft_secure.rundir import write_atomically

KEPT_ROUNDS = 2
"""The last finished round may be taken up again, and then starts from what the one before it left."""

FILE = re.compile(r"round-(\d{6})-attempt-(\d{3,})\.safetensors")

UNNAMED = re.compile(r"round-\d{6}\.safetensors")
"""What an earlier version wrote, without saying which attempt it was of."""

Attempt = tuple[int, int]
"""(round, attempt)"""


@dataclass(frozen=True, kw_only=True, slots=True)
class PersonalValues:
    """Arrays by name, as each round left them, in one private folder (0700, files 0600).

    Guarantee: a round always starts from what an earlier round left, never from an interrupted or failed attempt at
        the same one, so that an attempt can be repeated to the bit.
    Assumes: `keep_only` is called before a release is made, so that nothing uncharged feeds it.
    Does not cover: DP. The values are as private as the examples, unless they derive from noised gradients only; they
        are not encrypted.

    Args:
        folder: of this client alone; made when something is kept.
    """

    folder: Path

    def before(self, round_number: int) -> dict[str, np.ndarray]:
        """What the last round before `round_number` left; empty where the client has taken part in none.

        Raises:
            PolicyError: If the file is damaged.
        """
        earlier = [attempt for attempt in self._attempts() if attempt[0] < round_number]
        if not earlier:
            return {}
        path = self._path(earlier[-1])
        try:
            return load(path.read_bytes())
        except (SafetensorError, OSError) as error:
            raise PolicyError(f"{path}: the client's personal values are damaged; restore the file") from error

    def keep(self, attempt: Attempt, values: Mapping[str, np.ndarray]) -> None:
        """Stores what an attempt leaves, which counts before those of the same round; completely or not at all."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        contiguous = {name: np.ascontiguousarray(value) for name, value in values.items()}
        write_atomically(self._path(attempt), save(contiguous), mode=0o600)
        earlier = sorted({number for number, _ in self._attempts() if number < attempt[0]})
        for old in self._attempts():
            if old[0] in earlier[: -(KEPT_ROUNDS - 1)]:
                self._path(old).unlink()

    def keep_only(self, charged: Set[Attempt]) -> None:
        """Deletes what other attempts left: the next release would depend on what was not paid."""
        for attempt in self._attempts():
            if attempt not in charged:
                self._path(attempt).unlink()

    def _attempts(self) -> list[Attempt]:
        if not self.folder.is_dir():
            return []
        names = [path.name for path in self.folder.iterdir()]
        if old := next(filter(UNNAMED.fullmatch, names), None):
            raise PolicyError(f"{self.folder / old}: an earlier version kept it; begin a new run")
        found = map(FILE.fullmatch, names)
        return sorted((int(match[1]), int(match[2])) for match in found if match)

    def _path(self, attempt: Attempt) -> Path:
        return self.folder / f"round-{attempt[0]:06d}-attempt-{attempt[1]:03d}.safetensors"


def personal_start(start: Start, kept: Mapping[str, np.ndarray]) -> AdapterState:
    """The adapter that a client trains: the shared one with its own tensors, where it has some already."""
    return start.state.replace({name: kept[name] for name in start.personal if name in kept})


def correction(start: Start, kept: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """c − c_k for every tensor with a control variate; c_k is zero before the client's first round."""
    return {
        name: (shared - kept.get(name + CONTROL, np.zeros_like(shared))).astype(np.float32)
        for name, shared in start.control.items()
    }


def left_behind(start: Start, own: AdapterState, update: LocalUpdate) -> dict[str, np.ndarray]:
    """What the next round of this client starts from: its personal tensors, and c_k, the mean of its gradients."""
    tensors = {name: own[name] + update.delta.get(name, 0.0) for name in start.personal}
    control = {name + CONTROL: update.mean_gradient[name] for name in start.control if name in update.mean_gradient}
    return {**tensors, **control}


def personal_folder(ledger: Path, *, run: str, client: str) -> Path:
    """Where a simulated client keeps its own values of a run: beside the ledger, which other runs may share."""
    return ledger.with_name(f"{ledger.name}.personal") / run / client
