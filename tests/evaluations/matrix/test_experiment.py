"""Whole matrices on a tiny model."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from attacks.errors import AttackError
from evaluations.matrix import Matrix, choose, matrix, require_complete
from evaluations.matrix.defences import FAST, FAST_ATTACKS
from fedpeft_secure import cli
from fedpeft_secure.errors import InputError, RunFailedError
from fedpeft_secure.events import Event, Notice, RoundFinished, ignore
from fedpeft_secure.result import Result
from tests.fedpeft_secure.conftest import MakeConfig

Played = tuple[Path, Matrix, list[Event]]
WANTED = choose(attacks=["span", "membership"], views=[], defences=["plain", "secure-sum+dp-8"], fast=False)


def test_every_attack_meets_every_defence_under_every_view(played: Played) -> None:
    out, found, _ = played
    keys = {(cell.attack, cell.defence, cell.view) for cell in found.cells}
    assert len(keys) == len(found.cells) == 2 * 2 * 4
    own = {cell.defence: cell.view for cell in found.cells if not cell.replay}
    assert own == {"plain": "individual", "secure-sum+dp-8": "sum-dp"}
    plain, defended = found.defences
    assert (plain.epsilon, plain.protocol) == (None, "plain")
    assert (defended.epsilon or 9) <= 8
    spent = Result.from_json((out / "plain" / "run" / "result.json").read_text("utf-8")).compute.seconds
    assert plain.seconds == spent["total"] > spent["training"] > 0
    require_complete(found)


@pytest.mark.parametrize("attack", ["span", "membership"])
def test_cells_are_what_fedpeft_attack_says(played: Played, attack: str) -> None:
    out, found, _ = played
    run = out / "secure-sum+dp-8" / "run"
    shown = CliRunner().invoke(cli.app, ["attack", str(run), "--set", f'attacks.run=["{attack}"]', "--json"])
    assert shown.exit_code == 0, shown.stderr
    cells = {cell.view: cell for cell in found.cells if (cell.attack, cell.defence) == (attack, "secure-sum+dp-8")}
    rows = json.loads(shown.stdout)
    assert len(rows) == len(cells)
    for row in rows:
        cell = cells[row["view"]]
        assert (cell.value, cell.low, cell.high, cell.null, cell.replay) == tuple(
            row[key] for key in ("value", "low", "high", "null", "replay")
        )


def test_what_is_there_is_not_run_again(played: Played, tiny_config: MakeConfig) -> None:
    out, found, first = played
    again: list[Event] = []
    assert matrix(tiny_config(), WANTED, out=out, listen=again.append) == found
    assert any(isinstance(event, RoundFinished) for event in first)
    assert not any(isinstance(event, RoundFinished) for event in again)
    assert Matrix.model_validate_json((out / "matrix.json").read_bytes()) == found
    assert (out / "report.html").is_file()
    assert (out / "plots" / "matrix-span.png").is_file()


def test_a_failing_attack_is_reported_tried_again_and_stops_nothing(
    played: Played, tiny_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, found, _ = played
    (out / "plain" / "span.json").unlink()

    def fails(*_: object) -> None:
        raise AttackError("no luck\ntoday")

    with monkeypatch.context() as patched:
        patched.setattr("evaluations.matrix.cells.run_attacks", fails)
        heard: list[Event] = []
        partial = matrix(tiny_config(), WANTED, out=out, listen=heard.append)
    assert [(one.defence, one.attack, one.reason) for one in partial.failures] == [("plain", "span", "no luck today")]
    assert len(partial.cells) == 3 * 4
    assert "plain, span (2 of 6) failed: no luck today" in [e.text for e in heard if isinstance(e, Notice)]
    with pytest.raises(RunFailedError, match="span on plain"):
        require_complete(partial)
    assert matrix(tiny_config(), WANTED, out=out, listen=ignore).cells == found.cells


def test_a_directory_of_other_settings_is_refused(played: Played, tiny_config: MakeConfig) -> None:
    out, _, _ = played
    with pytest.raises(InputError, match="other settings"):
        matrix(tiny_config({"training.rounds": 3}), WANTED, out=out, listen=ignore)


@pytest.mark.parametrize(
    ("given", "named"),
    [({"attacks": ["spam"]}, "--attacks spam"), ({"views": ["half"]}, "--views half")],
)
def test_unknown_names_are_refused(given: dict[str, list[str]], named: str) -> None:
    with pytest.raises(InputError, match=named):
        choose(**{"attacks": [], "views": [], "defences": []} | given, fast=False)


def test_the_fast_subset_fills_in_what_is_left_open() -> None:
    fast = choose(attacks=[], views=["sum"], defences=[], fast=True)
    assert (fast.attacks, fast.views, fast.defences) == (FAST_ATTACKS, ("sum",), FAST)
    assert choose(attacks=["span"], views=[], defences=["ffa"], fast=True).defences == ("ffa",)


def test_defences_do_not_spend_secret_noise(tiny_config: MakeConfig, tmp_path: Path) -> None:
    wanted = choose(attacks=["span"], views=[], defences=["plain"], fast=True)
    with pytest.raises(InputError, match="fedpeft matrix trains on the same data again and again"):
        matrix(tiny_config({"privacy.noise": "secure"}), wanted, out=tmp_path / "new", listen=ignore)
    assert not (tmp_path / "new").exists()
