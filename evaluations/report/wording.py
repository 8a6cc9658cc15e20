"""The sentences of the report that depend on the run. They claim what the numbers carry, and no more."""

import math
from collections.abc import Sequence

import secagg
from evaluations.metrics import proportion_interval
from evaluations.report import formatting as text
from evaluations.report.elements import Notice
from evaluations.report.verdicts import is_over_budget, is_private, unprotected_clients
from fedpeft_secure.result import Compute, Privacy, Result, RoundRecord, Utility

OVERLAPPING_PHASE = "total"
RISE = 1.05
"""Multiple of the lowest loss above which a rise is put in words."""


def notices(result: Result) -> tuple[Notice, ...]:
    """The warnings that stand above everything else."""
    privacy, found = result.privacy, []
    unprotected = unprotected_clients(privacy)
    if not is_private(privacy):
        every = len(unprotected) == len(privacy.clients)
        whom = "any client" if every else text.listed(unprotected)
        found.append(
            Notice(
                title="NOT PRIVATE" if every else f"NOT PRIVATE for {whom}",
                body=f"No finite ε covers {whom}. Nothing bounds what the messages and the model reveal about the "
                "examples there.",
                tone="bad",
            )
        )
    over = tuple(row.client for row in privacy.clients if is_over_budget(row))
    if over:
        found.append(
            Notice(
                title=f"OVER BUDGET: {text.listed(over)}",
                body="More ε was spent than allowed. This must not happen; please report it with this directory.",
                tone="bad",
            )
        )
    if privacy.noise == "simulation" and len(unprotected) < len(privacy.clients):
        found.append(
            Notice(
                title="Simulation: the noise came from a seed",
                body="Whoever knows the seed can subtract the noise, so this run protects nobody. Read each ε as what "
                "the same run would spend with noise from the operating system's generator.",
                tone="warn",
            )
        )
    return tuple(found)


def accuracy_interval(utility: Utility) -> tuple[float, float]:
    """The 95 % score interval of the test accuracy, from the number of test examples."""
    estimate = proportion_interval(round(utility.accuracy * utility.examples), utility.examples)
    return estimate.low, estimate.high


def loss_caption(rounds: Sequence[RoundRecord]) -> str:
    """What the loss by round is, and why it may rise where accuracy is no worse for it."""
    caption = "Mean loss by round on the validation split."
    measured = [(one.loss, one.accuracy) for one in rounds if one.loss is not None and math.isfinite(one.loss)]
    if not measured:
        return caption
    (lowest, accuracy), (last, reached) = min(measured, key=lambda point: point[0]), measured[-1]
    if last <= RISE * lowest or accuracy is None or reached is None or reached < accuracy:
        return caption
    return (
        f"{caption} It rises from its lowest, {text.number(lowest)}, though accuracy is no lower than it was there: "
        "answers get surer, and a wrong one costs the more the surer it is. Its probabilities are not to be relied on."
    )


def total_seconds(compute: Compute) -> float:
    """The whole time: the phase called "total" where there is one, else the sum of the phases."""
    return compute.seconds.get(OVERLAPPING_PHASE, sum(compute.seconds.values()))


def unit_sentence(privacy: Privacy) -> str:
    """What an ε of this run refers to."""
    relation = text.relation_name(privacy.relation)
    return f"Unit: one {privacy.unit}; neighbours: {relation}; accountant: {privacy.accountant}"


def messages_statement(result: Result) -> tuple[str, ...]:
    """What each client's messages reveal, to everybody together."""
    privacy, setup = result.privacy, result.setup
    relation = text.relation_name(privacy.relation)
    sentences = []
    if not is_private(privacy):
        sentences.append("NOT PRIVATE: no finite ε covers what every client sends.")
    if any(math.isfinite(row.epsilon_spent) for row in privacy.clients) and privacy.private:
        sentences.append(_of_whole_clients(privacy) if privacy.unit == "client" else _of_examples(privacy, relation))
    if privacy.noise == "simulation":
        sentences.append("The noise of this run was seeded: the statement holds for the same run with secure noise.")
    if setup.protocol == "plain":
        sentences.append("The sum was plain: the server read every update by itself.")
    else:
        sentences.append(
            f"The {setup.protocol} sum is built to hide single updates from a {setup.server} server. That is "
            "a computational protection of the summands; it bounds nothing about the sum."
        )
    if setup.protocol in secagg.ONE_MESSAGE:
        sentences.append("It holds as long as the server and the key holder do not collude.")
    return tuple(sentences)


def _of_examples(privacy: Privacy, relation: str) -> str:
    return (
        f"All that a client sent, in every run charged to its ledger, is (ε, δ)-differentially private for one "
        f"{privacy.unit} ({relation}), with its own ε and δ of the table. This holds against the server, the other "
        "clients and any reader of the model together, and it does not need the secure sum."
    )


def _of_whole_clients(privacy: Privacy) -> str:
    return (
        "What the table says of a client is (ε, δ)-differentially private for all of its data "
        f"({text.relation_name(privacy.relation)}), in every run charged to its ledger. Assumes: "
        f"{privacy.clients_assumptions.rstrip('.')}."
    )


def _whose_noise(privacy: Privacy, honest_survivors: int) -> str:
    if privacy.mechanism == "central":
        return "with the noise that the trusted server added"
    if privacy.unit == "client":
        return f"with the noise shares of {text.count(honest_survivors, 'client')} added up"
    return f"with the noise of {text.count(honest_survivors, 'honest survivor')} added up"


def aggregate_statement(privacy: Privacy) -> tuple[str, ...]:
    """What the sums alone reveal, with the assumptions."""
    row = privacy.aggregate
    if row is None:
        return ("Not stated for this run. Only the ε of each client applies.",)
    if math.isinf(row.epsilon):
        first = "NOT PRIVATE: the sums carry no noise, so no finite ε covers them."
    else:
        first = (
            f"The sums alone are {text.privacy_pair(row.epsilon, row.delta)}-differentially private for one "
            f"{privacy.unit}{'' if privacy.unit == 'client' else ' of any client'}, "
            f"{_whose_noise(privacy, row.honest_survivors)} (noise multiplier {text.number(row.noise_multiplier)})."
        )
    seeded = ("The noise of this run was seeded: this too holds for the same run with secure noise.",)
    simulated = privacy.noise == "simulation" and math.isfinite(row.epsilon)
    return (first, f"Assumes: {row.assumptions.rstrip('.')}.", *(seeded if simulated else ()))
