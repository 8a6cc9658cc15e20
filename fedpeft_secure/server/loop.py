"""The training loop: plan a round, play it, improve the adapter, record, checkpoint."""

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np

import secagg
from fedpeft_secure.adapters import AdapterState
from fedpeft_secure.aggregation.context import RoundContext
from fedpeft_secure.aggregation.round_strategy import Received
from fedpeft_secure.budgets import noise_kind
from fedpeft_secure.client_noise import read_sum
from fedpeft_secure.downloads import settled
from fedpeft_secure.engines.base import Engine
from fedpeft_secure.engines.rounds import RoundOutcome
from fedpeft_secure.errors import RunFailedError
from fedpeft_secure.events import Listener, Notice, PhaseStarted, RoundFinished
from fedpeft_secure.plans import RoundPlan
from fedpeft_secure.result import Departure, GroupSum, RoundRecord
from fedpeft_secure.rundir import RunDirectory, write_rounds
from fedpeft_secure.server.checkpoints import Progress, next_attempt, save_checkpoint, started_attempt
from fedpeft_secure.server.departures import NextRound, next_round
from fedpeft_secure.server.evaluation import Predictions, predict
from fedpeft_secure.server.federation import Federation
from fedpeft_secure.server.ledger_heads import ledger_head

MAX_FAILED_IN_A_ROW = 3

Recorder = Callable[[RoundPlan, secagg.Transcript], None]


def train_rounds(
    federation: Federation,
    directory: RunDirectory,
    progress: Progress,
    *,
    engine: Engine,
    record: Recorder,
    listen: Listener,
) -> Progress:
    """Plays the rounds that are left.

    A round whose secure sum fails leaves the adapter as it was; what its clients were charged stays charged.
    Clients whose budget ends leave; once too few are left for a sum, the run ends with the adapter that it has.

    Args:
        federation: all parties.
        directory: where checkpoints go.
        progress: where the run stands.
        engine: plays the rounds.
        record: given the plan and the transcript of every round that succeeded.
        listen: told about progress.

    Raises:
        RunFailedError: If every client refuses, three rounds in a row fail, all rounds did, or too few clients can
            still afford the first.
    """
    config = federation.config
    if not engine.repeats(config):
        progress = _close_interrupted(federation, directory, progress, listen)
    while progress.rounds_done < config.training.rounds:
        number = progress.rounds_done + 1
        attempt = next_attempt(directory, number, repeatable=noise_kind(config) != "secure")
        upcoming = next_round(federation, progress, attempt=attempt)
        plan = upcoming.plan
        for departure in upcoming.left:
            listen(Notice(text=f"{departure.client} leaves after round {number - 1}: {departure.reason}"))
        if plan is None:
            return _end_early(progress, upcoming, listen)
        outcome = engine.play(federation, plan, progress.state, listen=listen)
        for refusal in outcome.refusals:
            listen(Notice(text=f"round {number}: {refusal}"))
        if outcome.received is not None:
            record(plan, outcome.transcript)
        progress = _close_round(federation, progress, plan, outcome, upcoming.left, listen)
        save_checkpoint(directory, progress)
        write_rounds(directory, list(progress.records))
        listen(RoundFinished(record=progress.records[-1], rounds=config.training.rounds))
        _stop_if_hopeless(progress, plan, outcome, last_round=config.training.rounds)
    return progress


def _close_interrupted(
    federation: Federation, directory: RunDirectory, progress: Progress, listen: Listener
) -> Progress:
    """Counts a round in which the server stopped as failed: what its clients sent is never asked for again."""
    number = progress.rounds_done + 1
    started = started_attempt(directory)
    if started is None or started.round != number:
        return progress
    upcoming = next_round(federation, progress, attempt=started.attempt)
    if upcoming.plan is None:
        return progress
    listen(Notice(text=f"round {number} was interrupted: it is closed, and what its clients were charged stands"))
    outcome = RoundOutcome(
        aggregate=None,
        received=None,
        failure="the server stopped within this round",
        refusals=(),
        transcript=secagg.Transcript(),
        seconds={},
    )
    progress = _close_round(federation, progress, upcoming.plan, outcome, upcoming.left, listen)
    save_checkpoint(directory, progress)
    write_rounds(directory, list(progress.records))
    return progress


def _end_early(progress: Progress, upcoming: NextRound, listen: Listener) -> Progress:
    if not progress.records:
        raise RunFailedError(
            f"too few clients can still afford a round: {upcoming.too_few}; raise budgets or plan fewer rounds"
        )
    ended = f"the run ended after round {progress.rounds_done}, because too few clients were left: {upcoming.too_few}"
    listen(Notice(text=ended))
    return replace(progress, left=upcoming.left, ended=ended)


def _close_round(  # noqa: PLR0917 - one caller
    federation: Federation,
    progress: Progress,
    plan: RoundPlan,
    outcome: RoundOutcome,
    left: tuple[Departure, ...],
    listen: Listener,
) -> Progress:
    started = time.perf_counter()
    state, optimizer, below_clip = progress.state, progress.optimizer, None
    if outcome.received is not None:
        received, below_clip = _released(federation, plan, outcome.aggregate, outcome.received)
        context = RoundContext(plan=plan, spec=federation.backbone.spec, state=state)
        state, optimizer = federation.strategy.apply(received, context, optimizer)
        state = _sendable(federation, state)
        if state.digest() == progress.state.digest():
            raise RunFailedError(
                "the round changed nothing; raise training.server_learning_rate or training.learning_rate"
            )
    applied = time.perf_counter()
    quality = _validate(federation, plan, state, listen)
    seconds = outcome.seconds | {"server": applied - started, "validation": time.perf_counter() - applied}
    finished = _record(federation, plan, outcome, state, left=left, quality=quality, seconds=seconds)
    if federation.budgets[0].client_noise is not None:
        finished = finished.model_copy(update={"clip_norm": plan.clip_norm, "below_clip": below_clip})
    return replace(
        progress,
        rounds_done=plan.round,
        state=state,
        optimizer=optimizer,
        records=(*progress.records, finished),
    )


def _released(
    federation: Federation, plan: RoundPlan, aggregate: secagg.Aggregate | None, received: Received
) -> tuple[Received, float | None]:
    """The mean update that the sum stands for, and the noised share of short updates where the clip norm adapts."""
    noise = federation.budgets[0].client_noise
    if noise is None:
        return received, None
    if aggregate is None:
        raise RunFailedError("whole clients' noise is on one sum; use aggregation.groups = 1")
    found = read_sum(noise, plan, aggregate, server_noise=lambda: federation.server_noise(plan))
    return replace(received, means=(found.mean,)), found.below_clip


def _validate(federation: Federation, plan: RoundPlan, state: AdapterState, listen: Listener) -> Predictions | None:
    training = federation.config.training
    if plan.round % training.evaluate_every and plan.round != training.rounds:
        return None
    listen(PhaseStarted(name="validation", round=plan.round))
    return predict(federation.backbone, state, federation.validation)


def _record(
    federation: Federation,
    plan: RoundPlan,
    outcome: RoundOutcome,
    state: AdapterState,
    *,
    left: tuple[Departure, ...],
    quality: Predictions | None,
    seconds: dict[str, float],
) -> RoundRecord:
    survivors = () if outcome.received is None else outcome.received.survivors
    counted = survivors or plan.cohort
    sent = sum(outcome.transcript.total_bytes(sender=name) for name in counted)
    received = sum(outcome.transcript.total_bytes(recipient=name) for name in counted)
    return RoundRecord(
        round=plan.round,
        attempt=plan.attempt,
        survivors=survivors,
        dropped=tuple(name for name in plan.cohort if name not in survivors),
        left=left,
        failure=outcome.failure,
        groups=tuple(
            GroupSum(members=group.members, survivors=group.survivors, failure=group.failure)
            for group in outcome.groups
        ),
        accuracy=None if quality is None else quality.accuracy,
        loss=None if quality is None else quality.loss,
        epsilon_spent=spent(federation),
        ledger=ledger_head(federation.ledger),
        upload_bytes=round(sent / len(counted)),
        download_bytes=round(received / len(counted)),
        seconds=seconds,
        model_hash=state.digest().hex(),
    )


def spent(federation: Federation) -> dict[str, float]:
    """ε that each client has spent on its ledger so far."""
    return {name: account.spent().epsilon for name, account in federation.accounts.items()}


def _sendable(federation: Federation, state: AdapterState) -> AdapterState:
    """The adapter as clients will read it; one with infinite values loses the run."""
    if not all(np.isfinite(value).all() for value in state.values.values()):
        raise RunFailedError(
            "the adapter diverged to infinite values; lower training.server_learning_rate or training.learning_rate"
        )
    start = federation.sent_from
    return state if start is None else settled(state, start, bits=federation.config.secure_sum.bits)


def _stop_if_hopeless(progress: Progress, plan: RoundPlan, outcome: RoundOutcome, *, last_round: int) -> None:
    """Raises once going on would only pretend to train."""
    if len(outcome.refusals) == len(plan.cohort):
        raise RunFailedError(f"every client refused round {plan.round}, the first because: {outcome.refusals[0]}")
    recent = progress.records[-MAX_FAILED_IN_A_ROW:]
    keeps_failing = len(recent) == MAX_FAILED_IN_A_ROW and all(record.failure for record in recent)
    nothing_trained = plan.round == last_round and all(record.failure for record in progress.records)
    if keeps_failing or nothing_trained:
        raise RunFailedError(
            f"the secure sum keeps failing, last because {outcome.failure}; see rounds.jsonl, and "
            "raise secure_sum.dropout_fraction or lower secure_sum.min_cohort"
        )
