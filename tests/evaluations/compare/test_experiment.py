import json
from collections.abc import Callable
from pathlib import Path

import pytest

from evaluations.compare import compare
from fedpeft_secure import Config
from fedpeft_secure.errors import InputError
from fedpeft_secure.events import Event, Notice, ignore
from fedpeft_secure.result import Result

MakeConfig = Callable[..., Config]
OPEN = {"privacy.epsilon": "inf", "training.optimizer": "adamw", "training.learning_rate": 5e-3}


def test_a_comparison_runs_every_arm_and_goes_on_where_it_was(tiny_config: MakeConfig, tmp_path: Path) -> None:
    base, heard = tiny_config(OPEN), list[Event]()
    arms = ["fedit", "centralised", "local"]
    found = compare(base, seeds=(0, 1), arms=arms, out=tmp_path, listen=heard.append)
    assert {row.arm for row in found.rows} == {"default", *arms}
    assert all(row.seeds == (0, 1) for row in found.rows)
    notices = [event.text for event in heard if isinstance(event, Notice)]
    assert len(notices) == 8
    assert notices[-1].endswith("(8 of 8)")
    assert json.loads((tmp_path / "comparison.json").read_text())["rows"][0]["arm"] == found.rows[0].arm
    assert (tmp_path / "comparison.md").read_text().startswith("| arm |")

    written = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("cell.json")}
    (gone,) = (path for path in written if "fedit/seed-1" in str(path))
    gone.unlink()
    assert compare(base, seeds=(0, 1), arms=arms, out=tmp_path, listen=ignore) == found.model_copy(
        update={"rows": tuple(_with_seconds(row, found, tmp_path) for row in found.rows)}
    )
    assert all(path == gone or path.stat().st_mtime_ns == before for path, before in written.items())


def _with_seconds(row, found, root: Path):
    """Only how long it took and what it held may differ in a repeated cell."""
    cells = [json.loads((root / row.arm / f"seed-{seed}" / "cell.json").read_text()) for seed in row.seeds]
    seconds = sum(cell["seconds"] for cell in cells) / len(cells)
    return row.model_copy(
        update={"seconds": seconds, "peak_memory_bytes": max(cell["peak_memory_bytes"] for cell in cells)}
    )


def test_a_cells_accuracy_is_that_of_its_run_and_no_transcript_is_left(tiny_config: MakeConfig, tmp_path: Path) -> None:
    found = compare(tiny_config(), seeds=(2,), arms=["fedsvd"], out=tmp_path, listen=ignore)
    for row in found.rows:
        run = tmp_path / row.arm / "seed-2" / "run"
        result = Result.from_json((run / "result.json").read_text())
        assert row.accuracy == pytest.approx(result.utility.accuracy)
        assert row.epsilon == pytest.approx(max(client.epsilon_spent for client in result.privacy.clients))
        assert not (run / "transcript").exists()
    same = [row for row in found.rows if row.strategy == "fedsvd"]
    assert len(same) == 2  # the default under DP, and by name
    assert same[0].accuracy == same[1].accuracy


def test_cells_of_other_settings_are_not_mixed_in(tiny_config: MakeConfig, tmp_path: Path) -> None:
    compare(tiny_config(OPEN), seeds=(0,), arms=["local"], out=tmp_path, listen=ignore)
    with pytest.raises(InputError, match="was made with other settings; give a new directory"):
        compare(tiny_config({**OPEN, "training.rounds": 3}), seeds=(0,), arms=["local"], out=tmp_path, listen=ignore)


@pytest.mark.parametrize("seeds", [(), (1, 1)])
def test_seeds_are_given_once(seeds: tuple[int, ...], tiny_config: MakeConfig, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--seed: give at least one, and none twice"):
        compare(tiny_config(), seeds=seeds, out=tmp_path, listen=ignore)


def test_arms_do_not_spend_secret_noise(tiny_config: MakeConfig, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="fedpeft compare trains on the same data again and again"):
        compare(tiny_config({"privacy.noise": "secure"}), seeds=(0,), out=tmp_path / "new", listen=ignore)
    assert not (tmp_path / "new").exists()
