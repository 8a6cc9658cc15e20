from pathlib import Path

import pytest

from evaluations import training
from evaluations.training import measured_run, no_attack, require_simulation
from fedpeft_secure.clients.backbone import new_store
from fedpeft_secure.errors import InputError
from fedpeft_secure.events import Event, RoundFinished, ignore
from tests.fedpeft_secure.conftest import tiny_bert, tiny_config

__all__ = ["tiny_bert", "tiny_config"]


class CutOffError(Exception):
    pass


def cut_after(rounds: int):
    def listen(event: Event) -> None:
        if isinstance(event, RoundFinished) and event.record.round == rounds:
            raise CutOffError

    return listen


def note(rounds: list[int]):
    def listen(event: Event) -> None:
        if isinstance(event, RoundFinished):
            rounds.append(event.record.round)

    return listen


def run(config, root: Path, listen=ignore):
    return measured_run(config, root, attack=no_attack, store=new_store(config), listen=listen)


def test_what_was_cut_off_goes_on_to_the_same_end(tiny_config, tmp_path: Path) -> None:
    config = tiny_config({"training.rounds": 3, "attacks.run": []})
    whole = run(config, tmp_path / "whole")
    assert len(whole.correct) == whole.result.utility.examples
    assert sum(whole.correct) / len(whole.correct) == pytest.approx(whole.result.utility.accuracy)
    with pytest.raises(CutOffError):
        run(config, tmp_path / "cut", cut_after(2))
    rounds: list[int] = []
    again = run(config, tmp_path / "cut", note(rounds))
    assert rounds == [3]
    assert (again.result.utility, again.correct) == (whole.result.utility, whole.correct)


def test_what_was_cut_off_with_other_settings_begins_anew(tiny_config, tmp_path: Path) -> None:
    with pytest.raises(CutOffError):
        run(tiny_config({"training.rounds": 2, "peft.rank": 1}), tmp_path / "run", cut_after(1))
    rounds: list[int] = []
    config = tiny_config({"training.rounds": 2})
    run(config, tmp_path / "run", note(rounds))
    assert rounds == [1, 2]


def test_the_peak_is_that_of_this_training(tmp_path: Path, monkeypatch) -> None:
    asked = tmp_path / "clear_refs"
    monkeypatch.setattr(training, "PEAK", asked)
    training.begin_new_peak()
    assert asked.read_text() == "5"
    monkeypatch.setattr(training, "PEAK", tmp_path / "nowhere" / "clear_refs")
    training.begin_new_peak()


def test_secret_noise_is_not_spent_on_comparisons(tiny_config) -> None:
    require_simulation(tiny_config({"privacy.noise": "simulation"}), "fedpeft compare")
    with pytest.raises(InputError, match=r"privacy\.noise: fedpeft compare .* use noise = \"simulation\""):
        require_simulation(tiny_config({"privacy.noise": "secure"}), "fedpeft compare")
