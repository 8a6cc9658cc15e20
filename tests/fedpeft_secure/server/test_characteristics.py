"""Measuring sessions: against a direct sum, what they charge, whom they refuse, and what a run makes of them."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dp
from fedpeft_secure import Config
from fedpeft_secure.allocation.adaptive import decide
from fedpeft_secure.allocation.importance_file import write_importance
from fedpeft_secure.budgets import plan_budgets
from fedpeft_secure.clients.characteristics import Cells, probe, summed
from fedpeft_secure.config import MeasuredImportance
from fedpeft_secure.engines import in_process
from fedpeft_secure.errors import ConfigError, InputError, ModelError, RunFailedError
from fedpeft_secure.events import Event, Notice, ignore
from fedpeft_secure.rundir import open_run
from fedpeft_secure.seeds import Seed
from fedpeft_secure.server.characteristics import measure
from fedpeft_secure.server.federation import Federation
from fedpeft_secure.server.job import training_run
from fedpeft_secure.setting import decide_all

MakeConfig = Callable[..., Config]
EXACT = {"privacy.epsilon": "inf", "training.sample_rate": 1.0}
ADAPTIVE = {"allocation.strategy": "adaptive", "attacks.run": [], "training.sample_rate": 1.0}


@pytest.fixture(scope="module")
def shared(tiny_config: MakeConfig, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, list[str]]:
    """A ledger that was charged for a file of characteristics, and what was said of it."""
    folder = tmp_path_factory.mktemp("measured")
    ledger, file, heard = folder / "ledger.sqlite", folder / "importance.toml", list[str]()
    found = measure(tiny_config(private(ledger) | {"allocation.importance_noise": 1.5}), listen=texts(heard))
    write_importance(found, file)
    return ledger, file, heard


def private(ledger: Path) -> dict[str, Any]:
    return {"privacy.ledger": str(ledger), "training.sample_rate": 1.0}


def texts(heard: list[str]) -> Callable[[Event], None]:
    return lambda event: heard.append(event.text) if isinstance(event, Notice) else None


def events(ledger: Path, client: str) -> list[dp.PrivacyEvent]:
    return [charge.event for charge in dp.Ledger.read(ledger).history(client)]


@pytest.mark.parametrize("protocol", ["plain", "masked", "helper"])
def test_the_released_sum_is_that_of_all_clients_examples(
    protocol: str, tiny_config: MakeConfig, make_federation: Callable[..., Federation]
) -> None:
    changes = EXACT | {"secure_sum.protocol": protocol, "secure_sum.bits": 24}
    found = measure(tiny_config(changes), listen=ignore)
    federation = make_federation(changes)
    spec = federation.backbone.spec
    state, cells = probe(federation.start, spec, Seed(0)), Cells.of(spec, targets=("query", "value"), classes=2)
    total = sum(
        summed(client.trainer, state, np.arange(len(client.examples)), cells) for client in federation.clients.values()
    )
    assert np.array(found.weights).reshape(-1) == pytest.approx(total[:4] / total[:4].sum(), abs=1e-5)
    assert found.examples == pytest.approx(sum(len(client.examples) for client in federation.clients.values()), abs=0.1)
    labels = total[4:] / total[4:].sum()
    assert found.label_entropy == pytest.approx(-(labels * np.log2(labels)).sum(), abs=1e-4)
    assert (found.clients, found.noise_multiplier, found.drowned) == (5, 0.0, False)


@pytest.mark.slow
@pytest.mark.parametrize("protocol", ["bfv", "ckks"])
def test_so_it_is_under_homomorphic_encryption(protocol: str, tiny_config: MakeConfig) -> None:
    pytest.importorskip("tenseal")
    under = {"secure_sum.protocol": protocol, "secure_sum.server": "curious"}
    found, plain = (measure(tiny_config(EXACT | changes), listen=ignore) for changes in (under, {}))
    assert np.array(found.weights) == pytest.approx(np.array(plain.weights), abs=1e-3)


def test_every_client_is_charged_once_before_anything_is_sent(shared: tuple[Path, Path, list[str]]) -> None:
    ledger, _, heard = shared
    price = next(line for line in heard if line.startswith("characteristics:"))
    alone = dp.epsilon(noise_multiplier=1.5, sample_rate=1.0, steps=1, delta=1e-5, accountant="rdp")
    assert f"ε = {alone:.3g} at δ = 1e-05 per example by itself (add_remove, rdp, simulation noise)" in price
    for number in range(1, 6):
        assert events(ledger, f"client-{number}") == [
            dp.SampledGaussian(noise_multiplier=1.5, sample_rate=1.0, steps=1)
        ]
        assert dp.Ledger.read(ledger).spent(f"client-{number}", delta=1e-5, accountant="rdp").epsilon == alone


def test_a_run_on_the_same_ledger_keeps_to_the_budget_for_both(
    shared: tuple[Path, Path, list[str]], tiny_config: MakeConfig, tmp_path: Path
) -> None:
    ledger, file, copy = shared[0], shared[1], tmp_path / "importance.toml"
    copy.write_bytes(file.read_bytes())
    config = tiny_config(ADAPTIVE | private(ledger) | {"allocation.importance": str(copy)})
    unaware = tiny_config(ADAPTIVE | private(ledger))
    assert plan_budgets(config)[0].noise_multiplier > plan_budgets(unaware)[0].noise_multiplier
    with training_run(config, tmp_path / "run", resume=False, listen=ignore) as trained:
        record = trained.progress.records[-1]
    for client, spent in record.epsilon_spent.items():
        assert len(events(ledger, client)) == 3, "nobody leaves early"
        assert 0.98 * 8 < spent <= 8
        assert spent == pytest.approx(dp.compose(tuple(events(ledger, client)), delta=1e-5, accountant="rdp"))
    copy.write_text("changed")
    _, kept = open_run(tmp_path / "run")
    assert kept.allocation.importance == config.allocation.importance
    assert isinstance(kept.allocation.importance, MeasuredImportance)


def test_whoever_cannot_afford_it_is_named_and_nobody_is_asked(
    tiny_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = tmp_path / "ledger.sqlite"
    monkeypatch.setattr(in_process, "run_round", lambda *_, **__: pytest.fail("no round may be played"))
    config = tiny_config(
        private(ledger) | {"allocation.importance_noise": 1.5, "privacy.per_client": {"client-3": 1.0}}
    )
    with pytest.raises(ConfigError, match=r"^allocation.importance_noise: client 'client-3'.*or raise it$") as refused:
        measure(config, listen=ignore)
    assert "\n" not in str(refused.value)
    assert dp.Ledger.read(ledger).head().count == 0


def test_a_file_of_another_ledger_is_refused(
    shared: tuple[Path, Path, list[str]], tiny_config: MakeConfig, tmp_path: Path
) -> None:
    config = tiny_config(ADAPTIVE | private(tmp_path / "other.sqlite") | {"allocation.importance": str(shared[1])})
    with pytest.raises(ConfigError, match="was charged on another ledger, for 0 of 5 clients on this one"):
        training_run(config, tmp_path / "run", resume=False, listen=ignore).__enter__()
    assert not (tmp_path / "run").exists()


def test_too_much_noise_drowns_the_signal_and_the_prior_counts(tiny_config: MakeConfig, tmp_path: Path) -> None:
    ledger, file, heard = tmp_path / "ledger.sqlite", tmp_path / "importance.toml", list[str]()
    found = measure(tiny_config(private(ledger) | {"allocation.importance_noise": 300.0}), listen=ignore)
    assert found.drowned
    write_importance(found, file)
    config = tiny_config(ADAPTIVE | private(ledger) | {"allocation.importance": str(file)})
    by_prior = [decision.layers for decision in decide(tiny_config(ADAPTIVE | private(ledger)))]
    assert [decision.layers for decision in decide(config)] == by_prior
    decide_all(config, listen=texts(heard))
    assert any("drowned; the documented prior counts in its place" in line for line in heard)


def test_dropouts_are_borne_and_too_many_are_said(tiny_config: MakeConfig) -> None:
    with pytest.raises(RunFailedError, match=r"the measuring session failed: .*; what clients were charged stands"):
        measure(tiny_config(EXACT | {"clients.simulated_dropout": 0.95}), listen=ignore)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, 'privacy.ledger: "run" is a ledger that begins with the run'),
        ({"privacy.unit": "client"}, "privacy.unit: characteristics are noised by example"),
        ({"peft.method": "bitfit"}, "measured of LoRA and rsLoRA, and not of 'bitfit'"),
        ({"clients.per_round": 6}, "clients.per_round: 6 of 5 clients cannot take part"),
    ],
)
def test_refusals(tiny_config: MakeConfig, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as refused:
        measure(tiny_config(changes), listen=ignore)
    assert "\n" not in str(refused.value)


def test_models_without_a_cost_model_are_refused(tiny_config: MakeConfig, tiny_t5: Path) -> None:
    with pytest.raises(ModelError, match="type t5 are not modelled"):
        measure(tiny_config(EXACT | {"model.name": str(tiny_t5)}), listen=ignore)


def test_a_client_refuses_what_its_policy_does_not_allow(tiny_config: MakeConfig, monkeypatch) -> None:
    from fedpeft_secure.server import characteristics

    def strict(*arguments: Any, **named: Any) -> Any:
        return replace(simulated(*arguments, **named), protocols=frozenset({"helper"}))

    simulated = characteristics.simulated_policy
    monkeypatch.setattr(characteristics, "simulated_policy", strict)
    heard: list[str] = []
    with pytest.raises(RunFailedError):
        measure(tiny_config(EXACT), listen=texts(heard))
    assert sum("protocol 'masked' is not allowed" in line for line in heard) == 5
