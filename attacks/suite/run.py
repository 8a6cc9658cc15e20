"""What a run calls after training."""

from collections.abc import Callable, Mapping
from functools import partial

from attacks.suite.case import Case, open_case
from attacks.suite.matched_texts import matching_rows
from attacks.suite.members import membership_rows
from attacks.suite.membership_rules import RULES
from attacks.suite.secrets import exposure_rows
from attacks.suite.texts import span_rows
from fedpeft_secure.events import Listener, Notice, PhaseStarted
from fedpeft_secure.result import AttackRow
from fedpeft_secure.server.job import TrainedRun

ATTACKS: Mapping[str, Callable[[Case], tuple[AttackRow, ...]]] = {
    "span": span_rows,
    "dlg": partial(matching_rows, attack="dlg"),
    "tag": partial(matching_rows, attack="tag"),
    "lamp": partial(matching_rows, attack="lamp"),
    **{name: partial(membership_rows, attack=name) for name in RULES},
    "exposure": exposure_rows,
}
"""The names of `attacks.run` in the configuration."""


def run_attacks(trained: TrainedRun, listen: Listener) -> tuple[AttackRow, ...]:
    """Plays the configured attacks, each under the four views.

    The row of the view that the run itself offers comes from its recorded messages (`replay = false`); the other three
    from marked replays of the same round, with one sentence or a small batch a client, in which one defence at a time
    is switched off. Views are all that an attack is given; the referee alone knows what was in the batches.

    Raises:
        AttackError: If no round was recorded.
    """
    names = trained.federation.config.attacks.run
    if not names:
        return ()
    if trained.federation.config.privacy.unit == "client":
        listen(
            Notice(text="attacks.run: the attacks are on single examples and are not played on client-level privacy")
        )
        return ()
    if trained.federation.sends_parts:
        listen(
            Notice(
                text=f"attacks.run: {trained.federation.strategy.name} sends no changes of whole tensors, which the "
                "attacks read; they are not played"
            )
        )
        return ()
    case = open_case(trained)
    rows: list[AttackRow] = []
    for name in names:
        listen(PhaseStarted(name=f"attack: {name}"))
        rows.extend(ATTACKS[name](case))
    return tuple(rows)
