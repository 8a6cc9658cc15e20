"""The main job from end to end: a small federation, every party, every message, every file."""

import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from dp_accounting import dp_event
from dp_accounting.pld import PLDAccountant

import dp
import fedpeft_secure
import secagg
from fedpeft_secure import methods
from fedpeft_secure.cli import run
from fedpeft_secure.errors import ConfigError, DataError, RunDirectoryError
from fedpeft_secure.events import ClientTrained, Event, PhaseStarted, RoundFinished
from fedpeft_secure.result import Result
from fedpeft_secure.rundir import RunDirectory, read_rounds, read_run
from fedpeft_secure.secure_sums import secure_sum, sum_plan
from fedpeft_secure.server.job import training_run

FILES = ("config.toml", "rounds.jsonl", "result.json", "ledger.sqlite", "adapter/adapter_config.json", "report.html")


class InterruptionError(Exception):
    """Stands for a process that dies."""


@pytest.fixture(scope="module")
def finished(tiny_config, tmp_path_factory) -> tuple[Path, Result]:
    """One finished private run, looked at by many tests."""
    out = tmp_path_factory.mktemp("runs") / "finished"
    return out, run(tiny_config(), out=out)


def test_the_run_directory_is_complete(finished):
    out, result = finished
    assert [name for name in FILES if not (out / name).exists()] == []
    assert json.loads((out / "result.json").read_text())["schema"] == 1
    assert Result.from_json((out / "result.json").read_text()) == result
    assert [record.round for record in read_rounds(RunDirectory(root=out))] == [1, 2]
    assert list((out / "plots").glob("*.png"))


def test_what_could_hurt_is_readable_by_the_owner_only(finished):
    out, _ = finished
    secrets = [out / "ledger.sqlite", *(out / "transcript").iterdir()]
    assert [path for path in secrets if path.stat().st_mode & 0o077] == []


def test_no_local_path_is_written_into_the_adapter(finished):
    out, _ = finished
    assert "/" not in json.loads((out / "adapter/adapter_config.json").read_text())["base_model_name_or_path"]


def test_every_epsilon_is_what_google_computes_and_within_budget(finished):
    _, result = finished
    assert len(result.privacy.clients) == 5
    for row in result.privacy.clients:
        gaussian = dp_event.GaussianDpEvent(row.noise_multiplier)
        accountant = PLDAccountant()
        accountant.compose(dp_event.PoissonSampledDpEvent(row.sample_rate, gaussian), row.steps)
        # The tiny runs account by RDP, an upper bound; the default accountant is compared in test_default_accountant.
        assert accountant.get_epsilon(row.delta) <= row.epsilon_spent <= row.epsilon_budget
        assert row.steps == 2


def test_default_accountant(tiny_config, tmp_path):
    result = run(tiny_config({"privacy.accountant": "prv", "attacks.run": []}), out=tmp_path / "run")
    for row in result.privacy.clients:
        accountant = PLDAccountant()
        gaussian = dp_event.GaussianDpEvent(row.noise_multiplier)
        accountant.compose(dp_event.PoissonSampledDpEvent(row.sample_rate, gaussian), row.steps)
        assert row.epsilon_spent == pytest.approx(accountant.get_epsilon(row.delta), rel=0.03)
        assert 0.95 * row.epsilon_budget < row.epsilon_spent <= row.epsilon_budget


def test_the_adapter_loads_in_a_fresh_process_and_gives_the_reported_accuracy(finished):
    out, result = finished
    script = """
import sys
from pathlib import Path
import torch
from peft import PeftModel
from fedpeft_secure import models
from fedpeft_secure.data import load
from fedpeft_secure.rundir import read_run
from fedpeft_secure.seeds import Seed

run = Path(sys.argv[1])
config = read_run(run).config
tokenizer = models.load_tokenizer(config.model)
test = load(config.data, clients=config.clients.count, seed=Seed(config.seed)).test
for model in (PeftModel.from_pretrained(models.load_base(run), run / "adapter"), models.load(run)):
    right = 0
    for text, label in zip(test.texts, test.labels, strict=True):
        batch = tokenizer([text], truncation=True, max_length=config.model.max_length, return_tensors="pt")
        with torch.no_grad():
            logits = model.eval()(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
        right += int(logits.argmax() == label)
    print(right / len(test))
"""
    done = subprocess.run([sys.executable, "-c", script, str(out)], capture_output=True, text=True, check=True)
    assert [float(line) for line in done.stdout.split()] == pytest.approx([result.utility.accuracy] * 2, abs=1e-9)


def test_the_transcript_of_a_masked_run_holds_no_plain_update(tiny_config, tmp_path):
    masked, plain = (_contributions_found(tiny_config, tmp_path / name, name) for name in ("masked", "plain"))
    assert masked == 0
    assert plain == 5, "the search must find plain updates where they are, or it proves nothing"


def _contributions_found(tiny_config, out: Path, protocol: str) -> int:
    """In how many uploads of the last round a client's own contribution can be seen."""
    config = tiny_config({"secure_sum.protocol": protocol})
    found = 0
    with training_run(config, out, resume=False, listen=lambda _event: None) as trained:
        transcript = secagg.Transcript.load(next((out / "transcript").iterdir()))
        for name, client in trained.federation.clients.items():
            charge = client.ledger.history(name)[-1]
            contribution = client.ledger.contribution(name, charge.release)
            layout = secagg.Encoded.from_bytes(contribution).layout
            packed = layout.pack(secagg.Encoded.from_bytes(contribution).residues)
            sent = b"".join(envelope.payload for envelope in transcript.between(sender=name))
            # Any 16 bytes of the packed update, wherever they may stand in what was sent.
            pieces = [packed[start : start + 16] for start in range(0, len(packed) - 16, 16)]
            found += any(piece in sent for piece in pieces if any(piece))
    return found


def test_masked_and_plain_sums_train_the_same_adapter(tiny_config, tmp_path):
    for protocol in ("masked", "plain"):
        run(tiny_config(_quick({"secure_sum.protocol": protocol})), out=tmp_path / protocol)
    assert _adapter(tmp_path / "masked") == _adapter(tmp_path / "plain")


def test_another_seed_trains_another_adapter(tiny_config, tmp_path):
    for name, seed in (("first", 1), ("second", 2), ("again", 1)):
        run(tiny_config(_quick({"seed": seed})), out=tmp_path / name)
    assert _adapter(tmp_path / "first") == _adapter(tmp_path / "again") != _adapter(tmp_path / "second")


@pytest.mark.parametrize("epsilon", [8.0, "inf"])
@pytest.mark.parametrize("client", ["client-1", "client-3", "client-5"])
def test_an_interrupted_run_resumes_to_the_same_end(tiny_config, tmp_path, epsilon, client):
    config = tiny_config(_quick({"privacy.epsilon": epsilon}))
    whole = run(config, out=tmp_path / "whole")
    with pytest.raises(InterruptionError):
        run(config, out=tmp_path / "cut", listen=_stop_at(2, client))
    charged = _charges(tmp_path / "cut")
    resumed = run(None, out=tmp_path / "cut", resume=True)
    assert _adapter(tmp_path / "cut") == _adapter(tmp_path / "whole")
    assert resumed.utility == whole.utility
    assert (resumed.privacy.clients, resumed.privacy.aggregate) == (whole.privacy.clients, whole.privacy.aggregate)
    assert _charges(tmp_path / "cut")[: len(charged)] == charged
    assert len(_charges(tmp_path / "cut")) == 10


def test_secure_noise_is_never_sent_twice_and_a_repeated_round_is_charged_again(tiny_config, tmp_path):
    config = tiny_config(_quick({"privacy.noise": "secure"}))
    with pytest.raises(InterruptionError):
        run(config, out=tmp_path / "cut", listen=_stop_at(2, "client-3"))
    before = _charges(tmp_path / "cut")
    resumed = run(None, out=tmp_path / "cut", resume=True)
    after = _charges(tmp_path / "cut")
    repeated = {charge.client for charge in before if charge.release.round == 2}
    assert after[: len(before)] == before
    assert repeated == {"client-1", "client-2", "client-3"}
    assert {charge.release.attempt for charge in after if charge.release.round == 2} == {0, 1}
    for row in resumed.privacy.clients:
        assert row.steps == (3 if row.client in repeated else 2)
        assert row.epsilon_spent <= row.epsilon_budget
    assert resumed.privacy.noise == "secure"


def test_a_ledger_that_lost_charges_is_noticed(tiny_config, tmp_path):
    config = tiny_config(_quick({}))
    with pytest.raises(InterruptionError):
        run(config, out=tmp_path / "cut", listen=_stop_at(2, "client-1"))
    ledger = tmp_path / "cut/ledger.sqlite"
    with sqlite3.connect(ledger) as connection:
        connection.execute("DROP TRIGGER charges_are_never_deleted")
        connection.execute("DELETE FROM charges WHERE sequence > 3")
    connection.close()
    with pytest.raises(dp.LedgerError, match="does not hold charges that it held before"):
        run(None, out=tmp_path / "cut", resume=True)


def test_the_result_keeps_the_head_of_the_ledger(tiny_config, tmp_path):
    result = run(tiny_config(_quick({})), out=tmp_path / "run")
    with dp.Ledger.read(tmp_path / "run/ledger.sqlite") as ledger:
        head = ledger.head()
    assert (result.privacy.ledger.charges, result.privacy.ledger.digest) == (10, head.digest.hex())
    assert read_rounds(RunDirectory(root=tmp_path / "run"))[-1].ledger == result.privacy.ledger


def test_clients_that_vanish_do_not_stop_the_run(tiny_config, tmp_path):
    overrides = {"clients.count": 9, "clients.per_round": 9, "clients.simulated_dropout": 0.2}
    result = run(
        tiny_config(_quick(overrides | {"secure_sum.dropout_fraction": 0.3, "training.rounds": 4})),
        out=tmp_path / "run",
    )
    records = read_rounds(RunDirectory(root=tmp_path / "run"))
    assert any(record.dropped for record in records)
    assert any(record.survivors for record in records)
    assert {row.steps for row in result.privacy.clients} == {4}, "who trained is charged, whether or not it arrived"


def test_budgets_differ_by_client(tiny_config, tmp_path):
    result = run(tiny_config(_quick({"privacy.per_client": {"client-2": 2.0}})), out=tmp_path / "run")
    rows = {row.client: row for row in result.privacy.clients}
    assert rows["client-2"].epsilon_spent <= 2.0 < rows["client-1"].epsilon_spent
    assert rows["client-2"].noise_multiplier > rows["client-1"].noise_multiplier


LEAVING = {
    "training.rounds": 5,
    "clients.count": 6,
    "clients.per_round": 6,
    "privacy.per_client": {"client-2": {"rounds": 2}, "client-4": {"rounds": 3, "sample_rate": 0.2, "clip_norm": 0.5}},
}


def test_clients_leave_and_too_few_end_the_run_with_the_adapter_so_far(tiny_config, tmp_path):
    """Five is the smallest masked cohort against a malicious server: it goes on without one, and ends without two."""
    result = run(tiny_config(_quick(LEAVING)), out=tmp_path / "run")
    records = read_rounds(RunDirectory(root=tmp_path / "run"))
    assert [len(record.survivors) for record in records] == [6, 6, 5]
    assert [left.client for record in records for left in record.left] == ["client-2"]
    assert [(left.client, left.after_round) for left in result.privacy.departures] == [("client-2", 2), ("client-4", 3)]
    assert any(warning.startswith("the run ended after round 3") for warning in result.setup.warnings)
    rows = {row.client: row for row in result.privacy.clients}
    assert [rows[f"client-{index}"].steps for index in range(1, 7)] == [3, 2, 3, 3, 3, 3]
    for row in rows.values():
        assert row.epsilon_spent <= row.epsilon_budget
    # Who leaves early has used up its budget; the others keep what the missing rounds would have cost.
    assert rows["client-2"].epsilon_spent > 7.8
    assert (rows["client-4"].sample_rate, rows["client-4"].clip_norm) == (0.2, 0.5)
    assert (tmp_path / "run/adapter/adapter_model.safetensors").exists()


@pytest.mark.parametrize("stop", [(1, "client-3"), (3, "client-4")])
def test_an_interrupted_run_whose_clients_leave_resumes_to_the_same_end(tiny_config, tmp_path, stop):
    config = tiny_config(_quick(LEAVING))
    whole = run(config, out=tmp_path / "whole")
    with pytest.raises(InterruptionError):
        run(config, out=tmp_path / "cut", listen=_stop_at(*stop))
    resumed = run(None, out=tmp_path / "cut", resume=True)
    # The chain's end names the run, and so differs between directories; the charges do not.
    assert resumed.privacy.ledger.charges == whole.privacy.ledger.charges
    assert resumed.privacy.model_copy(update={"ledger": whole.privacy.ledger}) == whole.privacy
    assert resumed.setup == whole.setup
    assert _adapter(tmp_path / "cut") == _adapter(tmp_path / "whole")


def test_a_second_run_on_a_ledger_lasts_for_as_long_as_it_has_room(tiny_config, tmp_path):
    shared = {"privacy.ledger": str(tmp_path / "shared.sqlite"), "training.rounds": 3}
    run(tiny_config(_quick(shared | {"training.rounds": 1, "privacy.epsilon": 4.0})), out=tmp_path / "first")
    second = run(tiny_config(_quick(shared)), out=tmp_path / "second")
    assert [left.client for left in second.privacy.departures] == [f"client-{index}" for index in range(1, 6)]
    for row in second.privacy.clients:
        assert (row.steps, row.ledger_steps) == (2, 3)
        assert 4.0 < row.epsilon_spent <= row.epsilon_budget == 8.0


def test_groups_of_examples_have_budgets_of_their_own(tiny_config, tmp_path):
    groups = {"strict": {"epsilon": 1.0, "share": 0.3}, "open": {"epsilon": 6.0, "share": 0.7}}
    result = run(tiny_config({"privacy.groups": groups, "attacks.run": ["membership"]}), out=tmp_path / "run")
    for row in result.privacy.clients:
        spent = {group.group: group.epsilon_spent for group in row.groups}
        assert row.epsilon_budget == 6.0
        assert row.epsilon_spent == spent["open"] <= 6.0
        assert 0.98 < spent["strict"] <= 1.0
        rates = {group.group: group.sample_rate for group in row.groups}
        assert 0.3 * rates["strict"] + 0.7 * rates["open"] == pytest.approx(0.25, rel=0.01)
        for group, rate in rates.items():
            accountant = PLDAccountant()
            gaussian = dp_event.GaussianDpEvent(row.noise_multiplier)
            accountant.compose(dp_event.PoissonSampledDpEvent(rate, gaussian), row.steps)
            assert accountant.get_epsilon(row.delta) <= spent[group]
    assert {charge.event.groups[0][0] for charge in _charges(tmp_path / "run")} == {"open"}
    assert len(_charges(tmp_path / "run")) == 10, "one release charges all groups in one row"


def test_one_ledger_serves_many_runs_and_refuses_to_overspend(tiny_config, tmp_path):
    config = tiny_config(_quick({"privacy.ledger": str(tmp_path / "shared.sqlite")}))
    first = run(config, out=tmp_path / "first")
    assert all(row.epsilon_spent <= row.epsilon_budget for row in first.privacy.clients)
    with pytest.raises(ConfigError, match=r"privacy.epsilon: the ledger leaves no room .* above its budget"):
        run(config, out=tmp_path / "second")
    assert not (tmp_path / "second").exists()
    with dp.Ledger.read(tmp_path / "shared.sqlite") as ledger:
        assert all(len(ledger.history(client)) == 2 for client in ledger.clients())


@pytest.mark.parametrize("change", [{"seed": 5}, {"clients.count": 6, "clients.per_round": 6}])
def test_a_shared_ledger_refuses_other_data(tiny_config, tmp_path, change):
    shared = {"privacy.ledger": str(tmp_path / "shared.sqlite"), "training.rounds": 1}
    run(tiny_config(_quick(shared)), out=tmp_path / "first")
    with pytest.raises(DataError, match="has charges for other data"):
        run(tiny_config(_quick(shared | change | {"privacy.epsilon": 100.0})), out=tmp_path / "second")


def test_a_ledger_is_the_same_wherever_the_run_is_resumed(tiny_config, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(InterruptionError):
        run(tiny_config(_quick({"privacy.ledger": "own.sqlite"})), out=tmp_path / "cut", listen=_stop_at(2, "client-3"))
    monkeypatch.chdir(tmp_path / "there")
    resumed = run(None, out=tmp_path / "cut", resume=True)
    assert not (tmp_path / "there/own.sqlite").exists()
    assert {row.steps for row in resumed.privacy.clients} == {2}


def test_a_run_that_stopped_during_its_attacks_is_finished(tiny_config, tmp_path):
    def stop(event: Event) -> None:
        if isinstance(event, PhaseStarted) and event.name.startswith("attack"):
            raise InterruptionError

    config = tiny_config({"attacks.run": ["membership"]})
    with pytest.raises(InterruptionError):
        run(config, out=tmp_path / "cut", listen=stop)
    resumed = run(None, out=tmp_path / "cut", resume=True)
    assert {row.view for row in resumed.attacks} == {"individual", "individual-dp", "sum", "sum-dp"}


@pytest.mark.parametrize("settings", [{"training.local_steps": 2}, {"training.optimizer": "adamw"}])
def test_nothing_is_claimed_for_sums_of_releases_that_are_not_linear_in_their_noise(tiny_config, tmp_path, settings):
    assert run(tiny_config(_quick(settings)), out=tmp_path / "run").privacy.aggregate is None


def test_the_sums_are_claimed_at_the_fewest_honest_survivors(finished):
    _, result = finished
    aggregate = result.privacy.aggregate
    sigma = result.privacy.clients[0].noise_multiplier
    # Five clients on a complete graph: a threshold of 4, one corrupt; not the four or five that took part.
    assert aggregate.honest_survivors < 5
    assert aggregate.noise_multiplier == pytest.approx(sigma * aggregate.honest_survivors**0.5)
    assert aggregate.epsilon < result.privacy.clients[0].epsilon_spent


def test_a_run_without_privacy_says_so_everywhere(tiny_config, tmp_path):
    from fedpeft_secure.summary import summary

    result = run(tiny_config(_quick({"privacy.epsilon": "inf"})), out=tmp_path / "run")
    assert not result.privacy.private
    assert result.privacy.noise == "none"
    assert result.privacy.aggregate is None
    assert json.loads((tmp_path / "run/result.json").read_text())["privacy"]["clients"][0]["epsilon_spent"] == "inf"
    assert "NONE" in summary(result, tmp_path)
    assert "NOT PRIVATE" in (tmp_path / "run/report.html").read_text().upper()


def test_a_used_directory_is_refused_and_left_alone(finished, tiny_config):
    out, _ = finished
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    with pytest.raises(RunDirectoryError, match="in use"):
        run(tiny_config(), out=out)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before


@pytest.mark.parametrize("architecture", ["tiny_roberta", "tiny_distilbert", "tiny_t5"])
def test_other_architectures_run_the_whole_job(tiny_config, tmp_path, request, architecture):
    model = request.getfixturevalue(architecture)
    result = run(tiny_config(_quick({"model.name": str(model)})), out=tmp_path / "run")
    assert all(0 < row.epsilon_spent <= row.epsilon_budget for row in result.privacy.clients)
    assert len(read_run(tmp_path / "run").classes) == 2


@pytest.mark.parametrize(
    ("method", "architecture"),
    [
        *((method, "tiny_bert") for method in sorted(methods.METHODS) if method != "lora"),
        ("dora", "tiny_t5"),
        ("prompt", "tiny_t5"),
        ("prefix", "tiny_t5"),
        ("rslora", "tiny_distilbert"),
    ],
)
def test_other_methods_run_the_whole_job(tiny_config, tmp_path, request, method, architecture):
    model = request.getfixturevalue(architecture)
    attacks = ["span"] if method == "bitfit" else []
    settings = {"model.name": str(model), "peft.method": method, "attacks.run": attacks}
    result = run(tiny_config(settings), out=tmp_path / "run")
    assert all(0 < row.epsilon_spent <= row.epsilon_budget for row in result.privacy.clients)
    assert result.setup.method.startswith(method)
    strategies = {"rslora": "fedsvd", "dora": "fedsvd", "adalora": "adalora", "lora_xs": "fed_sb"}
    assert result.setup.strategy == strategies.get(method, "fedit")
    loaded = methods.read_state(fedpeft_secure.models.load(tmp_path / "run"))
    assert loaded.to_bytes() == _adapter(tmp_path / "run")
    assert [row.value for row in result.attacks if row.attack == "span"] == [None] * 4 * bool(attacks)
    if method == "adalora":
        singular = [value for name, value in loaded.values.items() if name.endswith("lora_E")]
        assert sum(np.count_nonzero(value) for value in singular) == 4, "half of the triplets are pruned by the end"


@pytest.mark.parametrize("method", ["adapter", "full", "dora"])
def test_the_top_layer_only_with_what_lies_below_it_kept(tiny_config, tmp_path, method):
    settings = {"peft.method": method, "peft.layers": 1, "training.local_steps": 4}
    kept, anew = (
        run(tiny_config(_quick(settings | {"training.activation_cache_mib": mib})), out=tmp_path / str(mib))
        for mib in (64, 0)
    )
    assert kept.utility.loss == pytest.approx(anew.utility.loss, rel=1e-3)
    state = methods.read_state(fedpeft_secure.models.load(tmp_path / "64"))
    assert not any(".layer.0." in name for name in state.values)
    assert any(".layer.1." in name for name in state.values)


@pytest.mark.parametrize(
    "case",
    [
        ("tiny_t5_whole", "seq2seq", "lora"),
        ("tiny_t5_whole", "seq2seq", "prefix"),
        ("tiny_llama", "auto", "lora"),
        ("tiny_llama", "causal", "ia3"),
    ],
)
def test_models_that_answer_in_words_run_the_whole_job(tiny_config, tmp_path, request, case):
    architecture, task, method = case
    path = request.getfixturevalue(architecture)
    settings = {"model.name": str(path), "model.task": task, "peft.method": method}
    heard = []
    result = run(tiny_config(_quick(settings)), out=tmp_path / "run", listen=heard.append)
    assert any("gradients of single examples: by hooks" in getattr(event, "text", "") for event in heard)
    assert all(0 < row.epsilon_spent <= row.epsilon_budget for row in result.privacy.clients)
    loaded = fedpeft_secure.models.load(tmp_path / "run")
    assert methods.read_state(loaded).to_bytes() == _adapter(tmp_path / "run")
    assert _accuracy_by_hand(tmp_path / "run", loaded) == pytest.approx(result.utility.accuracy, abs=1e-9)


def _accuracy_by_hand(out: Path, model) -> float:
    """Each test text by itself, through the public way to load a run."""
    import torch

    from fedpeft_secure.data import load
    from fedpeft_secure.seeds import Seed

    config = read_run(out).config
    tokenizer = fedpeft_secure.models.load_tokenizer(config.model)
    test = load(config.data, clients=config.clients.count, seed=Seed(config.seed)).test
    right = 0
    for text, label in zip(test.texts, test.labels, strict=True):
        batch = tokenizer([text], truncation=True, max_length=config.model.max_length, return_tensors="pt")
        with torch.no_grad():
            scores = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
        right += int(scores.argmax() == label)
    return right / len(test)


def test_the_default_model_and_data_on_a_small_cohort(tmp_path):
    small = {
        "training.rounds": 2,
        "training.sample_rate": 0.01,
        "training.nominal_batch": 8,
        "data.test_fraction": 0.02,
        "model.max_length": 32,
    }
    overrides = [f"{key}={value}" for key, value in small.items()]
    from fedpeft_secure.config_file import load_config

    result = fedpeft_secure.run(load_config(overrides=overrides), out=tmp_path / "run")
    assert result.setup.model == "sentence-transformers/all-MiniLM-L6-v2"
    assert result.communication.upload_ratio > 600
    assert {(row.attack, row.view) for row in result.attacks} == {
        (attack, view) for attack in ("span", "membership") for view in ("individual", "individual-dp", "sum", "sum-dp")
    }


def test_the_recorded_round_means_nothing_under_other_keys(finished):
    out, _ = finished
    saved = read_run(out)
    transcript = secagg.Transcript.load(next((out / "transcript").iterdir()))
    from fedpeft_secure.plans import RoundPlan

    payload = transcript.between(recipient="client-1", phase="train")[0].payload
    length = int.from_bytes(payload[:4], "big")
    plan = RoundPlan.model_validate_json(payload[4 : 4 + length])
    assert plan.round == saved.config.training.rounds
    assert secure_sum(plan).phases[-1] == "unmask"
    directory = secagg.Cohort.generate(plan.cohort).directory
    sums = sum_plan(plan, dim=saved.result.communication.parameters_sent, directory=directory)
    # Other keys than the run's: the server's own view cannot be rebuilt with them, and says so.
    with pytest.raises(secagg.ProtocolError):
        secagg.replay_aggregate(secure_sum(plan), sums, transcript, directory=directory)


def _quick(overrides: dict) -> dict:
    """Without attacks, which other tests look at."""
    return {"attacks.run": [], **overrides}


def _stop_at(round_number: int, client: str) -> Callable[[Event], None]:
    def listen(event: Event) -> None:
        if isinstance(event, ClientTrained) and (event.round, event.client) == (round_number, client):
            raise InterruptionError
        assert not (isinstance(event, RoundFinished) and event.record.round > round_number)

    return listen


def _charges(out: Path) -> list[dp.Charge]:
    with dp.Ledger.read(out / "ledger.sqlite") as ledger:
        return sorted((c for name in ledger.clients() for c in ledger.history(name)), key=lambda c: c.sequence)


def _adapter(out: Path) -> bytes:
    """The trained values, bit by bit."""
    return (out / "adapter/adapter_model.safetensors").read_bytes()
