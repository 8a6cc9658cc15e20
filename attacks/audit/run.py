"""Audits a configuration: what an adversary can prove about its ε, beside what the ledger says."""

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

import dp
from attacks.audit.canary_clients import play_canary_clients
from attacks.audit.claim import Claim
from attacks.audit.gradients import play_gradient_canaries
from attacks.audit.replay import as_gaussians, count_problems, replay_ledger, steps_of
from attacks.audit.result import AuditBound, AuditResult, Separated, StepCount
from attacks.audit.verdict import Scored, lower_bounds
from attacks.base import Floats
from attacks.errors import AttackError
from attacks.intervals import bootstrap_two
from attacks.membership import separation
from dp.charges import Charge
from fedpeft_secure.budgets import noise_kind
from fedpeft_secure.config import Config
from fedpeft_secure.errors import ConfigError, InputError
from fedpeft_secure.events import Listener, ignore
from fedpeft_secure.per_client import resolve
from fedpeft_secure.preflight import check
from fedpeft_secure.rundir import create_run, write_atomically
from fedpeft_secure.seeds import Seed
from fedpeft_secure.server.federation import Federation, build_federation

ALPHA = 1e-3
"""The joint chance of failing a run whose mechanism is what its ledger says."""

DEFAULT_CANARIES = {"example": 4000, "client": 400}

FILE = "audit.json"


class AuditFailedError(AttackError):
    """An audit contradicts the ledger: the mechanism is not what was charged for."""


def audit(config: Config, out: Path, *, canaries: int | None = None, listen: Listener = ignore) -> AuditResult:
    """Audits the guarantee of a configuration for its own privacy unit, and writes `audit.json` into `out`.

    With `privacy.unit = "example"` the first of the clients with the largest budget plays all its rounds with gradient
    canaries for examples; with "client" the whole cohort plays single rounds as canary clients through the secure sum.
    Charges go to a ledger of the audit's own.

    Guarantee: an honest mechanism fails with probability at most `ALPHA`.
    Does not cover: that a mechanism which passes is right. A lower bound far below the upper one proves little.

    Args:
        config: as for a run; its budget must be finite.
        out: a new or empty directory.
        canaries: how many, on both sides together; None for 4,000 gradient canaries, or 400 canary clients.
        listen: told about progress.

    Raises:
        InputError: If the configuration cannot be used, has no privacy budget, or bears fewer canaries.
        AttackError: If a round failed.
    """
    started = time.perf_counter()
    config = resolve(config)
    check(config)
    audited = _audited_client(config)
    directory = create_run(out, config)
    path = directory.ledger
    with _removed_on_bad_input(out), dp.Ledger.open(path) as ledger:
        federation = build_federation(config, run="audit", ledger=ledger, ledger_path=path, listen=listen)
        count = canaries or DEFAULT_CANARIES[config.privacy.unit]
        play = _by_clients if config.privacy.unit == "client" else _by_gradients
        result = play(federation, audited, count, listen)
    result = result.model_copy(update={"seconds": time.perf_counter() - started})
    return _written(result, out)


def replayed(result: AuditResult, run_dir: Path, out: Path) -> AuditResult:
    """Adds what is wrong with the ledger of a finished run to an audit of its configuration, on disk too.

    Raises:
        RunDirectoryError: If the directory holds no finished run.
    """
    problems = tuple(f"{run_dir}: {problem}" for problem in replay_ledger(run_dir))
    return _written(result.model_copy(update={"problems": (*result.problems, *problems)}), out)


def _written(result: AuditResult, out: Path) -> AuditResult:
    write_atomically(out / FILE, (result.to_json() + "\n").encode())
    return result


@contextmanager
def _removed_on_bad_input(out: Path) -> Iterator[None]:
    """Takes the directory away again when data, model or budgets turn out to be unusable: nothing ran in it."""
    try:
        yield
    except InputError:
        shutil.rmtree(out)
        raise


def require_passed(result: AuditResult) -> None:
    """Raises AuditFailedError with the first problem, if there is one."""
    if not result.passed:
        more = f" (and {len(result.problems) - 1} more in {FILE})" if len(result.problems) > 1 else ""
        raise AuditFailedError(f"the audit failed: {result.problems[0]}{more}")


def _audited_client(config: Config) -> str:
    private = [name for name in config.client_names if config.is_private(name)]
    if not private:
        raise ConfigError("privacy.epsilon: there is no finite budget to audit; give one, such as 8")
    return max(private, key=config.epsilon_of)


def _by_gradients(federation: Federation, client: str, count: int, listen: Listener) -> AuditResult:
    played = play_gradient_canaries(federation, client=client, count=count, listen=listen)
    privacy, budget = federation.config.privacy, federation.clients[client].budget
    history = federation.ledger.history(client)
    spent = federation.ledger.spent(
        client, delta=budget.delta, accountant=privacy.accountant, relation=privacy.relation
    )
    tensors = len(played.planted.places)
    return _result(
        federation,
        played.scored,
        history=history,
        spent=spent,
        audited=f"all messages of {client}, whose examples are gradient canaries",
        budget=budget.epsilon,
        taken=played.tally.samples / max(len(played.plan.groups), 1),
        charged=steps_of(history),
        problems=count_problems(played.tally, history, plan=played.plan, tensors=tensors),
    )


def _by_clients(federation: Federation, client: str, count: int, listen: Listener) -> AuditResult:
    played = play_canary_clients(federation, count=count, listen=listen)
    noise = federation.budgets[0].client_noise
    honest = "" if noise is None or noise.shares is None else f", claimed for {noise.shares.cohort.honest} honest ones"
    problems: tuple[str, ...] = ()
    if played.sent != played.charged:
        problems = (f"the clients sent {played.sent} updates, their ledgers were charged for {played.charged}",)
    return _result(
        federation,
        played.scored,
        history=played.charges,
        spent=played.spent,
        audited=f"single sums of {len(federation.agreed.cohort)} canary clients{honest}",
        budget=federation.clients[client].budget.epsilon,
        taken=played.sent,
        charged=played.charged,
        problems=problems,
    )


def _result(
    federation: Federation,
    scored: Scored,
    *,
    history: tuple[Charge, ...],
    spent: dp.PrivacySpent,
    audited: str,
    budget: float,
    taken: float,
    charged: int,
    problems: tuple[str, ...],
) -> AuditResult:
    config = federation.config
    claim = Claim(events=as_gaussians(tuple(charge.event for charge in history)), spent=spent)
    bounds = lower_bounds(scored, claim, alpha=ALPHA)
    best = max((bound for bound in bounds if bound.binding), key=lambda bound: bound.epsilon)
    if best.epsilon > spent.epsilon:
        problems = (
            f"{best.method} proves ε ≥ {best.epsilon:.3g}, the ledger says ε ≤ {spent.epsilon:.3g} per {spent.unit} at "
            f"δ = {spent.delta:g}: clipping, sampling or noise is not what was charged for",
            *problems,
        )
    return AuditResult(
        unit=spent.unit,
        relation=spent.relation,
        accountant=spent.accountant,
        delta=spent.delta,
        noise=noise_kind(config),
        audited=audited,
        noise_multiplier=claim.events[0].noise_multiplier,
        sample_rate=claim.events[0].sample_rate,
        steps=StepCount(taken=taken, charged=charged),
        canaries=scored.scores.size,
        included=int(scored.included.sum()),
        epsilon_budget=budget,
        epsilon_upper=spent.epsilon,
        epsilon_lower=best.epsilon,
        epsilon_estimate=next(bound.epsilon for bound in bounds if not bound.binding),
        alpha=ALPHA,
        bounds=tuple(
            AuditBound(method=bound.method, epsilon=bound.epsilon, alpha=bound.alpha, may_fail=bound.binding)
            for bound in bounds
        ),
        separation=_separated(scored, Seed(config.seed).child("audit", "bootstrap")),
        problems=problems,
        seconds=0.0,
        seed=config.seed,
    )


def _separated(scored: Scored, rng: np.random.Generator) -> Separated:
    inside, outside = scored.scores[scored.included], scored.scores[~scored.included]
    halves = np.array_split(rng.permutation(outside), 2)

    def area(left: Floats, right: Floats) -> Floats:
        return np.array([separation(left, right).auc])

    low, high = bootstrap_two(area, inside, outside, rng=rng, resamples=200)
    value = separation(inside, outside).auc
    null = separation(halves[0], halves[1]).auc if halves[1].size else 0.5
    return Separated(auc=value, low=min(float(low[0]), value), high=max(float(high[0]), value), null=null)
