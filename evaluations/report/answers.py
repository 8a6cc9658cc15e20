"""The four answers at the head of the page: how good, at what cost, for what privacy, and what an attacker got."""

from evaluations.report import formatting as text
from evaluations.report.elements import Answer, Bar
from evaluations.report.verdicts import (
    Verdict,
    grouped,
    is_over_budget,
    is_private,
    largest_spender,
    unprotected_clients,
    verdict,
)
from evaluations.report.wording import accuracy_interval, total_seconds, unit_sentence
from fedpeft_secure.result import AttackRow, Privacy, Result, Utility

MOST_LINES = 4


def answers(result: Result) -> tuple[Answer, ...]:
    """How good, at what cost, for what privacy, and what an attacker got."""
    return (_quality(result.utility), _cost(result), _privacy(result.privacy), _attacker(result.attacks))


def _quality(utility: Utility) -> Answer:
    low, high = accuracy_interval(utility)
    share = f"accuracy {text.number(utility.accuracy)}, majority baseline {text.number(utility.majority_baseline)}"
    return Answer(
        question="How good",
        value=text.number(utility.accuracy),
        unit="accuracy",
        lines=(
            f"Test split of {text.count(utility.examples, 'example')}; 95{text.NO_BREAK}% interval "
            f"{text.interval(low, high)}",
            f"Always guessing the largest class: {text.number(utility.majority_baseline)}",
        ),
        tone="plain" if low > utility.majority_baseline else "warn",
        bar=Bar(share=utility.accuracy, mark=utility.majority_baseline, label=share),
    )


def _cost(result: Result) -> Answer:
    sent, compute = result.communication, result.compute
    size, unit = text.data_size(sent.upload_bytes).split(text.NO_BREAK)
    return Answer(
        question="What it cost",
        value=size,
        unit=f"{unit} sent",
        lines=(
            f"By each client in each round; {text.data_size(sent.download_bytes)} received",
            f"1/{text.significant(sent.upload_ratio)} of full fine-tuning in fp32 "
            f"({text.data_size(sent.full_finetuning_bytes)})",
            f"{text.duration(total_seconds(compute))} in all; peak memory {text.data_size(compute.peak_memory_bytes)}",
        ),
    )


def _privacy(privacy: Privacy) -> Answer:
    question = "What privacy was spent"
    spender = largest_spender(privacy)
    if spender is None or not is_private(privacy):
        some = bool(privacy.clients) and len(unprotected_clients(privacy)) < len(privacy.clients)
        whom = f"for {text.listed(unprotected_clients(privacy))}" if some else "for every client"
        lines = (f"ε is infinite {whom}: nothing bounds what is revealed", *((unit_sentence(privacy),) if some else ()))
        return Answer(question=question, value="NOT PRIVATE", unit="", lines=lines, tone="bad")
    spent, budget = text.number(spender.epsilon_spent, digits=2), text.shortest(spender.epsilon_budget)
    noise = "Noise: from a seed (simulation), so not private as run"
    over = is_over_budget(spender)
    return Answer(
        question=question,
        value=f"ε{text.NO_BREAK}{spent}",
        unit=f"of {budget}",
        lines=(
            f"Largest of {text.count(len(privacy.clients), 'client')} ({spender.client}); "
            f"δ{text.NO_BREAK}={text.NO_BREAK}{text.power_of_ten(spender.delta)}",
            unit_sentence(privacy),
            noise if privacy.noise == "simulation" else "Noise: from a secure generator",
        ),
        tone="bad" if over else "warn" if privacy.noise == "simulation" else "plain",
        bar=Bar(
            share=min(1.0, spender.epsilon_spent / spender.epsilon_budget) if spender.epsilon_budget else 1.0,
            mark=None,
            label=f"ε {spent} spent of {budget}",
        ),
    )


def _attacker(rows: tuple[AttackRow, ...]) -> Answer:
    question = "What an attacker got"
    measured = [row for row in rows if row.value is not None]
    as_run = [row for row in measured if not row.replay]
    if not measured:
        return Answer(question=question, value="Not tested", unit="", lines=("No attack was measured",), tone="warn")
    won = [row for row in as_run if verdict(row) in (Verdict.ABOVE, Verdict.NO_INTERVAL)]
    best = [_with_control(max(group, key=_height)) for group in grouped(as_run).values()]
    more = (f"{len(best) - MOST_LINES} more under Attacks",) if len(best) > MOST_LINES else ()
    lines = [*best[:MOST_LINES], *more, *_replays([row for row in measured if row.replay])]
    if not as_run:
        return Answer(question=question, value="Only replays", unit="", lines=tuple(lines), tone="warn")
    uncontrolled = all(verdict(row) is Verdict.NO_CONTROL for row in as_run)
    value = "More than guessing" if won else "No null control" if uncontrolled else "No more than guessing"
    return Answer(
        question=question,
        value=value,
        unit="",
        lines=tuple(lines),
        tone="bad" if won else "warn" if uncontrolled else "plain",
    )


def _height(row: AttackRow) -> float:
    return row.value or 0.0


def _with_control(row: AttackRow) -> str:
    control = "no null control" if row.null is None else f"guessing {text.number(row.null)}"
    return f"{row.attack}, {row.metric}: {text.number(row.value)} ({control.replace(' ', text.NO_BREAK)})"


def _replays(rows: list[AttackRow]) -> tuple[str, ...]:
    """What each attack got at best once a defence was switched off, by the first metric that it names."""
    firsts: dict[str, AttackRow] = {}
    for group in grouped(rows).values():
        firsts.setdefault(group[0].attack, max(group, key=_height))
    if not firsts:
        return ()
    best = "; ".join(f"{row.attack}, {row.metric}: {text.number(row.value)}" for row in firsts.values())
    return (f"In replays with a defence switched off, at best: {best}",)
