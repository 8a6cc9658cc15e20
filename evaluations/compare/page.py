"""The report page of a comparison."""

from pathlib import Path

from evaluations.compare.arms import DEFAULT
from evaluations.compare.charts import comparison_charts, comparison_pictures, upload_chart
from evaluations.compare.table import Comparison, Row, leak_kinds
from evaluations.report import Document, Section, render_document, write_page
from evaluations.report import formatting as text
from evaluations.report.elements import (
    Answer,
    Block,
    Cell,
    Facts,
    Folded,
    Meanings,
    Notice,
    Pair,
    Source,
    Table,
    duration_cell,
    interval_cell,
    number_cell,
    size_cell,
)
from fedpeft_secure.config import Config
from fedpeft_secure.config_file import dump_config
from fedpeft_secure.doctor import processor, versions

MEANINGS = (
    ("Equal footing", "All arms share data, splits, model, rounds and budget; at one seed also the partition and who "
     "takes part. Each arm has the same settings, except where a baseline cannot train with them: the configuration of "
     "every run lies in its directory. Nobody’s learning rate was searched for here."),
    ("Accuracy", "Share of right answers on the test split, mean over seeds. Its interval resamples seeds and test "
     "examples (pigeonhole bootstrap): it covers the luck of both. Where the luck of the seed is most of it, few seeds "
     "make it too narrow: simulated, one interval in four missed the truth at three seeds, one in eight at five."),
    ("Difference", "To the default arm, on the same seeds and the same test examples, so that what is hard for both "
     "cancels. A star: it would still differ if all arms’ intervals were to hold together (Bonferroni)."),
    ("Centralised, local", "Not federated and not private: all data in one place, or every client alone. They "
     "say what federation costs and buys; of clients that train alone, the answers of all models are averaged."),
    ("GFLOP", "Billions of multiplications and additions of a client’s training in a round, by the cost model: at "
     "the largest text length, without what is kept between rounds. Absent for methods that the model does not know."),
    ("Peak memory", "The most that the process held during the training, the shared model and texts included; what an "
     "earlier arm left behind counts too."),
    ("Attacks", "What an attack got of the arm as it was run, mean over seeds, beside its null control, the same "
     "attack where there is nothing to find. Only played on request (--attack)."),
)  # fmt: skip


def write_compare_page(out: Path, found: Comparison, base: Config) -> Path:
    """Writes `report.html` and `plots/` into a comparison's directory.

    Args:
        out: the directory.
        found: the rows.
        base: the configuration that the arms share.
    """
    document = compare_document(found, base, origin=out.resolve().name)
    return write_page(out, render_document(document), comparison_pictures(found))


def compare_document(found: Comparison, base: Config, *, origin: str) -> Document:
    """Decides everything that the page shows."""
    seeds = ", ".join(map(str, found.rows[0].seeds))
    which = f"seed{'s' if len(found.rows[0].seeds) > 1 else ''} {seeds}"
    return Document(
        eyebrow="Comparison of strategies and baselines",
        title=base.model.name.rsplit("/", 1)[-1],
        subtitle=f"on {base.data.name}",
        lead=f"{text.count(len(found.rows), 'arm')} on the same data and partitions, {which}.",
        notices=_notices(found, base),
        answers=_answers(found),
        sections=_sections(found, base),
        origin=origin,
        version=versions()["fedpeft-secure"],
    )


def _notices(found: Comparison, base: Config) -> tuple[Notice, ...]:
    notices = []
    private = all(base.is_private(name) for name in base.client_names)
    if not private:
        body = "The arms trained without a budget: nothing bounds what their messages and models reveal."
        notices.append(Notice(title="NOT PRIVATE", body=body, tone="bad"))
    else:
        body = (
            "Noise came from seeds, and each ε covers its own training alone. Whoever trains several arms on private "
            "data and keeps one spends all of their budgets together."
        )
        notices.append(Notice(title="Simulation", body=body, tone="warn"))
    if len(found.rows[0].seeds) < 2:
        body = "There is one seed: the intervals cover the test examples alone, not the luck of the training."
        notices.append(Notice(title="One seed", body=body, tone="warn"))
    return tuple(notices)


def _answers(found: Comparison) -> tuple[Answer, ...]:
    rows = {row.arm: row for row in found.rows}
    best, default = found.rows[0], rows.get(DEFAULT)
    answers = [_accuracy_answer("Best arm", best)]
    if default is not None:
        answers.append(_accuracy_answer("The default", default))
        better = [row.arm for row in found.rows if row.significant and row.difference > 0]
        worse = [row.arm for row in found.rows if row.significant and row.difference < 0]
        lines = (
            f"Better: {text.listed(tuple(better)) if better else 'none'}",
            f"Worse: {text.listed(tuple(worse)) if worse else 'none'}",
        )
        sure = len(better) + len(worse)
        answers.append(
            Answer(question="Told apart from the default", value=str(sure), unit=f"of {len(rows) - 1}", lines=lines)
        )
    sent = [row for row in found.rows if row.upload_bytes]
    if sent:
        least = min(sent, key=lambda row: row.upload_bytes or 0)
        size, unit = text.data_size(least.upload_bytes or 0).split(text.NO_BREAK)
        line = f"{least.arm}, by each client in each round; accuracy {text.number(least.accuracy)}"
        answers.append(Answer(question="Smallest upload", value=size, unit=unit, lines=(line,)))
    return tuple(answers)


def _accuracy_answer(question: str, row: Row) -> Answer:
    name = f"{row.arm} ({row.strategy})" if row.arm == DEFAULT else row.arm
    return Answer(
        question=question,
        value=text.number(row.accuracy),
        unit="accuracy",
        lines=(name, f"95{text.NO_BREAK}% interval {text.interval(row.low, row.high)}"),
    )


def _sections(found: Comparison, base: Config) -> tuple[Section, ...]:
    charts: tuple[Block, ...] = comparison_charts(found)
    upload = upload_chart(found)
    first: tuple[Block, ...] = (Pair(blocks=charts), _table(found))
    sections = [Section(name="arms", title="The arms", link="Arms", blocks=first)]
    if upload is not None:
        sections.append(Section(name="cost", title="Accuracy against upload", link="Cost", blocks=(upload,)))
    if found.refused:
        rows = tuple((Cell(text=name), Cell(text=reason)) for name, reason in found.refused.items())
        table = Table(
            name="refused-arms", caption="Arms that these settings refuse.", columns=("Arm", "Why"), rows=rows
        )
        sections.append(Section(name="refused", title="Refused", link="Refused", blocks=(table,)))
    sections.append(
        Section(name="meaning", title="What these numbers mean, and what they do not", link="What the numbers mean",
                blocks=(Meanings(entries=MEANINGS),))
    )  # fmt: skip
    what = Facts(
        title="What was run",
        pairs=(
            ("Model", base.model.name),
            ("Data", base.data.name),
            ("PEFT method", base.peft.description),
            ("Clients", f"{base.clients.count}, {base.clients.per_round} in a round"),
            ("Rounds", str(base.training.rounds)),
            ("Seeds", ", ".join(map(str, found.rows[0].seeds))),
            ("Processor", processor()),
        ),
    )
    environment = Facts(title="Versions", pairs=tuple(sorted(versions().items())))
    settings = Folded(
        summary="Shared configuration", blocks=(Source(label="Shared configuration", text=dump_config(base)),)
    )
    sections.append(
        Section(name="setup", title="Setup", link="Setup", blocks=(Pair(blocks=(what, environment)), settings))
    )
    return tuple(sections)


def _table(found: Comparison) -> Table:
    kinds = leak_kinds(found)
    utility = ("Arm", "Accuracy", "95 % interval", "Difference", "95 % interval", "Precision", "Recall", "F1")
    costs = ("Sent", "Received", "GFLOP", "Time", "Peak memory", "ε")
    return Table(
        name="all-arms",
        caption="Means over seeds; bytes and GFLOP per client and round. Precision, recall and F1 are macro averages.",
        columns=(*utility, *costs, *(f"{attack}, {metric}" for attack, metric in kinds)),
        rows=tuple(_row(row, kinds) for row in found.rows),
    )


def _row(row: Row, kinds: tuple[tuple[str, str], ...]) -> tuple[Cell, ...]:
    leaks = {(leak.attack, leak.metric): leak for leak in row.leaks}
    got = (
        number_cell(leaks[kind].value.mean, note=f"null {text.number(leaks[kind].null)}")
        if kind in leaks
        else number_cell(None)
        for kind in kinds
    )
    default = row.arm == DEFAULT
    difference = Cell(text="reference", value=0.0, tone="muted") if default else _signed(row)
    ends = Cell(text=text.ABSENT, value="") if default else interval_cell(row.difference_low, row.difference_high)
    return (
        Cell(text=row.arm, note=row.strategy if row.strategy != row.arm else ""),
        number_cell(row.accuracy),
        interval_cell(row.low, row.high),
        difference,
        ends,
        number_cell(row.precision),
        number_cell(row.recall),
        number_cell(row.f1),
        size_cell(row.upload_bytes),
        size_cell(row.download_bytes),
        number_cell(None if row.flops is None else row.flops / 1e9, digits=1),
        duration_cell(row.seconds),
        size_cell(row.peak_memory_bytes),
        number_cell(row.epsilon, digits=2),
        *got,
    )


def _signed(row: Row) -> Cell:
    shown = f"{row.difference:+.3f}".replace("-", "−") + "*" * row.significant
    return Cell(text=shown, value=row.difference, tone="good" if row.significant and row.difference > 0 else "plain")
