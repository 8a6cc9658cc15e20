"""What `fedpeft attack` does."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol, cast, get_args

from attacks.suite.own_texts import TextAttack, attack_texts, ideal_sum_of_two, refuse_client_level, require_texts
from attacks.suite.reopen import keep_rows, may_show, parties, reopened, sent_out
from attacks.suite.run import run_attacks
from fedpeft_secure.config import Config
from fedpeft_secure.config_file import load_config
from fedpeft_secure.errors import InputError
from fedpeft_secure.events import Listener
from fedpeft_secure.preflight import check
from fedpeft_secure.result import AttackRow, Result, ViewName
from fedpeft_secure.rundir import read_run

REFUSED = (
    "the protocols refuse a sum of two, since either client could subtract its own; this is the sum itself, as such a "
    "protocol would open it"
)
"""What was played where two clients are configured."""


class RunConfig(Protocol):
    """`fedpeft_secure.cli.run`, which attacks may not import."""

    def __call__(self, config: Config, *, out: Path, listen: Listener) -> Result:
        """Runs a configuration in a new run directory."""
        ...


def attack_own_texts(
    target: Path | None, texts: Sequence[str], *, view: str | None, overrides: Sequence[str], listen: Listener
) -> TextAttack:
    """Somebody's own sentences under one view.

    Args:
        target: a configuration, a finished run whose adapter is started from, or None for the defaults.
        texts: the sentences.
        view: a name of a view, or None for the configuration's own.
        overrides: changes of the configuration.
        listen: told about progress.

    Raises:
        InputError: If a text is empty, or the view or the configuration cannot be used.
        AttackError: If the attack cannot be played.
    """
    names = get_args(ViewName)
    if view is not None and view not in names:
        raise InputError(f"--view {view!r}: unknown; use {', '.join(names)}")
    require_texts(texts)
    wanted = cast(ViewName | None, view)
    if target is not None and target.is_dir():
        with reopened(target, overrides=overrides, listen=listen) as trained:
            federation = trained.federation
            refuse_client_level(federation.config)
            return attack_texts(
                federation,
                texts,
                view=wanted,
                before=sent_out(trained),
                shows_others=may_show(federation),
                listen=listen,
            )
    config = load_config(target, overrides=overrides)
    refuse_client_level(config)
    of_two = config.clients.per_round == 2 and config.secure_sum.protocol != "plain"
    if of_two:
        config = ideal_sum_of_two(config)
        wanted = wanted or ("sum-dp" if config.is_private(config.client_names[0]) else "sum")
    check(config)
    with parties(config, run="own texts", listen=listen) as federation:
        found = attack_texts(
            federation, texts, view=wanted, before=None, shows_others=may_show(federation), listen=listen
        )
    return replace(found, note="; ".join(filter(None, (found.note, REFUSED)))) if of_two else found


def attack_target(
    target: Path | None, out: Path, *, overrides: Sequence[str], run: RunConfig, listen: Listener
) -> tuple[tuple[AttackRow, ...], Path, bool]:
    """The configured attacks on a finished run's recorded messages, or on those of a new run.

    Args:
        target: a finished run, a configuration, or None for the defaults.
        out: where a new run goes.
        overrides: changes of the configuration.
        run: runs a configuration.
        listen: told about progress.

    Returns:
        The rows, the run's directory, and whether recovered texts may be shown.
    """
    if target is None or not target.is_dir():
        result = run(load_config(target, overrides=overrides), out=out, listen=listen)
        return result.attacks, out, read_run(out).shows_text
    with reopened(target, overrides=overrides, listen=listen) as trained:
        rows = run_attacks(trained, listen)
        shown = trained.shows_text
    keep_rows(target, rows)
    return rows, target, shown
