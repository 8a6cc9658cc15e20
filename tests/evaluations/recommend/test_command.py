import io
import json
from pathlib import Path

import pytest
from rich.console import Console

import dp
from evaluations.recommend import make_wishes, recommend, require_found, screen
from evaluations.recommend.answer import RecommendationAnswer
from fedpeft_secure.config_file import load_config, parse_config
from fedpeft_secure.errors import RunFailedError
from fedpeft_secure.preflight import check
from tests.evaluations.conftest import browser
from tests.evaluations.test_report_page import visible

__all__ = ["browser"]

SURE, WIDE = (0.73, 0.735, 0.74), (0.69, 0.73, 0.77)


def ask(tmp_path: Path, base=None, **wishes) -> RecommendationAnswer:
    return recommend(base, wishes=make_wishes(base, **wishes), evidence=[tmp_path / "runs"], out=tmp_path / "out")


def test_the_smallest_sure_budget_is_recommended_and_can_be_run(make_runs, tmp_path: Path) -> None:
    make_runs(1, (0.6, 0.6, 0.61))
    make_runs(3, SURE)
    make_runs(8, (0.76, 0.765, 0.77))
    found = ask(tmp_path, min_accuracy=0.72)
    assert found.status == "sure"
    assert found.candidates[0].epsilon == pytest.approx(2.97)
    config = load_config(tmp_path / "out" / "recommended.toml")
    check(config)
    assert config.privacy.epsilon == 3
    assert found.budgets == dict.fromkeys(config.client_names, 3.0)
    assert set(config.privacy.per_client) == set(config.client_names)
    assert RecommendationAnswer.model_validate_json((tmp_path / "out" / "recommendation.json").read_text()) == found
    require_found(found)


def test_what_was_charged_for_measuring_stays_on_its_ledger(make_runs, tmp_path: Path) -> None:
    measured = {
        "model": "sentence-transformers/all-MiniLM-L6-v2", "targets": ["query", "value"],
        "weights": [[0.1, 0.2]] * 6, "signal_to_noise": 20.0,
        "noise_multiplier": 5.0, "noise": "simulation", "sample_rate": 0.15, "clients": 8, "examples": 900.0,
        "label_entropy": 1.0, "release": "characteristics-1",
    }  # fmt: skip
    ledger = str(tmp_path / "ours.sqlite")
    adaptive = {"allocation.strategy": "adaptive", "allocation.importance": measured, "privacy.ledger": ledger}
    make_runs(3, SURE, settings=adaptive)
    assert ask(tmp_path, min_accuracy=0.72).status == "sure"
    config = load_config(tmp_path / "out" / "recommended.toml")
    assert (config.privacy.ledger, config.allocation.importance.release) == (ledger, "characteristics-1")


def test_a_sure_answer_is_preferred_to_a_cheaper_unsure_one(make_runs, tmp_path: Path) -> None:
    make_runs(3, WIDE)
    make_runs(8, (0.76, 0.765, 0.77))
    found = ask(tmp_path, min_accuracy=0.72)
    assert (found.status, found.candidates[0].epsilon) == ("sure", pytest.approx(7.92))


@pytest.mark.parametrize("accuracies", [WIDE, (0.74,)])
def test_a_point_estimate_is_never_taken_for_more(accuracies, make_runs, tmp_path: Path) -> None:
    make_runs(3, accuracies)
    found = ask(tmp_path, min_accuracy=0.72)
    assert found.status == "unsure"
    assert found.statement.startswith("NOT SURE")
    assert found.candidates[0].wishes[0].standing == "unsure"
    page = visible((tmp_path / "out" / "report.html").read_text())
    assert page.index("Not sure.") < page.index("Are all wishes kept")


@pytest.mark.parametrize(("epsilon", "words"), [(3, "δ = 10⁻⁵"), ("inf", "Not private: nothing bounds")])
def test_the_page_says_for_whom_and_at_which_delta_its_epsilon_holds(
    epsilon: float | str, words: str, make_runs, tmp_path: Path
) -> None:
    make_runs(epsilon, (0.76,))
    first = ask(tmp_path, min_accuracy=0.5).candidates[0]
    assert (first.unit, first.delta) == ("example", 1e-5)
    page = visible((tmp_path / "out" / "report.html").read_text()).replace("\N{NO-BREAK SPACE}", " ")
    assert "for one example" in page
    assert words in page


@pytest.mark.parametrize(
    ("wishes", "binding"),
    [
        ({"min_accuracy": 0.9}, ("accuracy",)),
        ({"min_accuracy": 0.72, "max_epsilon": 2.0}, ("epsilon",)),
        ({"min_accuracy": 0.72, "max_upload_kib": 50}, ("upload",)),
        ({"min_accuracy": 0.72, "max_memory_mib": 10}, ("memory",)),
        ({"min_accuracy": 0.72, "max_leakage": ["membership.AUC=0.5"]}, ("leakage",)),
        ({"min_accuracy": 0.9, "max_upload_kib": 50}, ("accuracy", "upload")),
    ],
)
def test_where_nothing_fits_it_says_what_binds_and_fails(wishes, binding, make_runs, tmp_path: Path) -> None:
    make_runs(3, SURE, leak=0.6)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "recommended.toml").write_text("of yesterday")
    found = ask(tmp_path, **wishes)
    assert (found.status, found.binding, found.budgets) == ("none", binding, {})
    assert f"What binds: {', '.join(binding)}" in found.statement
    assert not (tmp_path / "out" / "recommended.toml").exists()
    with pytest.raises(RunFailedError, match="Relax a wish"):
        require_found(found)


def test_the_one_wish_that_keeps_a_candidate_out_binds(make_runs, tmp_path: Path) -> None:
    make_runs(1, (0.6, 0.6, 0.61))
    make_runs(8, (0.76, 0.765, 0.77))
    found = ask(tmp_path, min_accuracy=0.72, max_epsilon=2.0)
    assert found.binding == ("accuracy", "epsilon")


def test_what_was_not_attacked_is_not_taken_to_be_safe(make_runs, tmp_path: Path) -> None:
    make_runs(3, SURE)
    for limit in ("0.05", "membership.AUC=0.9"):
        found = ask(tmp_path, max_leakage=[limit])
        assert (found.status, found.binding) == ("none", ("leakage",))
        assert [one.standing for one in found.candidates[0].wishes] == ["unknown"]


def test_leakage_is_kept_by_its_interval(make_runs, tmp_path: Path) -> None:
    make_runs(3, SURE, leak=0.52)
    assert ask(tmp_path, max_leakage=["0.05"]).status == "sure"
    assert ask(tmp_path, max_leakage=["0.024"]).status == "unsure"
    assert ask(tmp_path, max_leakage=["0.01"]).status == "none"


def test_every_client_has_its_own_say(make_runs, tmp_path: Path) -> None:
    make_runs(3, SURE)
    base = parse_config({"privacy": {"epsilon": 8.0, "per_client": {"client-2": 2.0}}})
    found = ask(tmp_path, base, min_accuracy=0.72)
    assert (found.status, found.binding) == ("none", ("epsilon",))
    assert [one.client for one in found.candidates[0].wishes if one.standing == "broken"] == ["client-2"]

    make_runs(3, SURE, settings={"privacy.per_client": {"client-2": 2.0}})
    runs = sorted((tmp_path / "runs").glob("*"))[-3:]
    for run in runs:
        result = json.loads((run / "result.json").read_text())
        result["privacy"]["clients"][1]["epsilon_spent"] = 1.98
        (run / "result.json").write_text(json.dumps(result))
    found = ask(tmp_path, base, min_accuracy=0.72)
    assert (found.status, found.budgets["client-2"], found.budgets["client-1"]) == ("sure", 2.0, 3.0)


def test_small_and_slow_devices_are_asked_too(make_runs, tmp_path: Path) -> None:
    make_runs(3, SURE)

    def with_devices(**phone: float):
        devices = {"phone": {"share": 1, "memory_mib": 4096, "gflops": 1000, **phone}}
        allocation = {"devices": devices, "round_seconds": 30}
        return parse_config({"privacy": {"epsilon": 8.0}, "allocation": allocation})

    assert ask(tmp_path, with_devices()).status == "sure"
    assert ask(tmp_path, with_devices(memory_mib=20)).binding == ("memory",)
    assert ask(tmp_path, with_devices(gflops=0.1)).binding == ("time",)
    assert ask(tmp_path, with_devices(upload_kib=20)).binding == ("upload",)


def test_its_page_is_quiet_in_a_browser(browser, make_runs, tmp_path: Path) -> None:
    make_runs(1, (0.6, 0.6, 0.61), leak=0.5)
    make_runs(3, SURE, leak=0.52)
    make_runs("inf", (0.8, 0.81, 0.8), leak=0.7)
    ask(tmp_path, min_accuracy=0.72, max_leakage=["0.05"])
    path = tmp_path / "out" / "report.html"
    browser.open(path, width=390, scheme="dark")
    assert browser.complaints() == []
    assert browser.requests() == [path.resolve().as_uri()]
    assert browser.evaluate("document.documentElement.scrollWidth") == 390
    assert browser.evaluate("document.querySelectorAll('#all-candidates tbody tr').length") == 3
    assert "Surely" in browser.evaluate("document.querySelector('.answers').innerText")


def test_another_unit_or_a_larger_delta_is_not_what_was_asked_for(make_runs, tmp_path: Path) -> None:
    (run,) = make_runs(3, (0.75,))
    for unit, delta, standing in (("example", 1e-5, "kept"), ("client", 1e-5, "broken"), ("example", 1e-2, "broken")):
        result = json.loads((run / "result.json").read_text())
        result["privacy"]["unit"] = unit
        for row in result["privacy"]["clients"]:
            row["delta"] = delta
        (run / "result.json").write_text(json.dumps(result))
        (first,) = ask(tmp_path, parse_config({"privacy": {"epsilon": 8.0}})).candidates
        assert {one.wish: one.standing for one in first.wishes}["guarantee"] == standing


def test_what_the_search_was_charged_on_goes_on(make_runs, tmp_path: Path) -> None:
    ledger = str(tmp_path / "hospital.sqlite")
    make_runs(3, SURE, settings={"privacy.ledger": ledger})
    found = ask(tmp_path, min_accuracy=0.72)
    assert load_config(tmp_path / "out" / "recommended.toml").privacy.ledger == ledger
    assert f"It goes on with {ledger}" in found.statement


def test_the_ledger_of_the_configuration_is_kept(make_runs, tmp_path: Path) -> None:
    ledger = str(tmp_path / "hospital.sqlite")
    make_runs(3, SURE)
    base = parse_config({"privacy": {"epsilon": 8.0, "ledger": ledger}})
    assert ledger in ask(tmp_path, base, min_accuracy=0.72).statement
    assert load_config(tmp_path / "out" / "recommended.toml").privacy.ledger == ledger


def test_a_ceiling_on_epsilon_holds_for_what_may_be_spent(make_runs, tmp_path: Path) -> None:
    for run in make_runs(8, SURE):
        result = json.loads((run / "result.json").read_text())
        for row in result["privacy"]["clients"]:
            row["epsilon_spent"] = 4.9
        (run / "result.json").write_text(json.dumps(result))
    found = ask(tmp_path, max_epsilon=6.0)
    assert (found.status, found.binding) == ("none", ("epsilon",))
    assert "ε 4.90 spent and 8 allowed, of at most 6" in found.candidates[0].wishes[0].figures


def test_the_luck_of_the_null_control_counts_too(make_runs, tmp_path: Path) -> None:
    for run, null in zip(make_runs(3, SURE, leak=0.52), (0.45, 0.50, 0.55), strict=True):
        result = json.loads((run / "result.json").read_text())
        result["attacks"][0]["null"] = null
        (run / "result.json").write_text(json.dumps(result))
    assert ask(tmp_path, max_leakage=["0.05"]).status == "unsure"


def test_a_choice_among_several_is_said_to_favour_the_lucky(make_runs, tmp_path: Path) -> None:
    make_runs(8, SURE)
    assert "lucky" not in ask(tmp_path, min_accuracy=0.72).statement
    make_runs(3, SURE)
    found = ask(tmp_path, min_accuracy=0.72)
    assert found.status == "sure"
    assert "chosen among 2 by these very figures" in found.statement
    assert "chosen among 2" in visible((tmp_path / "out" / "report.html").read_text())


def test_every_client_has_its_own_delta(make_runs, tmp_path: Path) -> None:
    make_runs(3, (0.75,))
    for delta, standing in ((1e-7, "broken"), (1e-4, "kept")):
        base = parse_config({"privacy": {"epsilon": 8.0, "per_client": {"client-2": {"epsilon": 8.0, "delta": delta}}}})
        (first,) = ask(tmp_path, base).candidates
        assert {one.wish: one.standing for one in first.wishes}["guarantee"] == standing


def test_who_asks_for_no_privacy_is_not_refused_what_has_some(make_runs, tmp_path: Path) -> None:
    (run,) = make_runs(3, (0.75,))
    text = (run / "result.json").read_text().replace('"delta":1e-05', '"delta":0.0001')
    (run / "result.json").write_text(text)
    (first,) = ask(tmp_path, parse_config({"privacy": {"epsilon": "inf"}}), min_accuracy=0.7).candidates
    assert [one.standing for one in first.wishes if one.wish == "guarantee"] == []


def test_a_ledger_that_the_search_has_used_up_is_said_to_be(make_runs, tmp_path: Path) -> None:
    path = tmp_path / "hospital.sqlite"
    make_runs(3, SURE, settings={"privacy.ledger": str(path), "privacy.accountant": "rdp"})
    with dp.Ledger.open(path) as ledger:
        ledger.charge(
            client="client-1",
            release=dp.ReleaseId(run="search", round=1),
            event=dp.SampledGaussian(noise_multiplier=1.0, sample_rate=0.05, steps=400),
            budget=dp.PrivacyBudget(epsilon=20.0, delta=1e-5),
            contribution=b"noised",
            accountant="rdp",
        )
    found = ask(tmp_path, min_accuracy=0.72)
    assert found.status == "unsure"
    assert f"{path}, on which it goes on, has no room for it" in found.statement


def test_a_path_with_brackets_is_no_markup(make_runs, tmp_path: Path) -> None:
    make_runs(3, SURE, settings={"privacy.ledger": str(tmp_path / "[red]x[/b].sqlite")})
    console = Console(width=300, file=io.StringIO())
    console.print(screen(ask(tmp_path, min_accuracy=0.72)))
    assert "[red]x[/b].sqlite" in console.file.getvalue()  # type: ignore[attr-defined]
