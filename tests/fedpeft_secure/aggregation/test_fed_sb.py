"""Fed-SB: the mean of cores is the mean of the products, in a function, in a round, and whatever hides the clients."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from peft import PeftModel

import fedpeft_secure
from fedpeft_secure import Config, models
from fedpeft_secure.adapters import AdapterSpec, AdapterState, Entry, Role
from fedpeft_secure.aggregation import combine
from fedpeft_secure.aggregation.fed_sb import FedSB
from fedpeft_secure.aggregation.fedit import FedIT
from fedpeft_secure.aggregation.server_optimizers import FedAvg, server_optimizer
from fedpeft_secure.clients import trainer as trainer_module
from fedpeft_secure.events import Event, RoundFinished
from fedpeft_secure.methods.lora_xs import as_factors
from fedpeft_secure.server.federation import Federation
from fedpeft_secure.server.job import training_run
from tests.fedpeft_secure.aggregation.playing import play, rounds

MakeFederation = Callable[..., Federation]
MakeConfig = Callable[..., Config]
SETTINGS = {
    "privacy.epsilon": "inf",
    "peft.method": "lora_xs",
    "peft.rank": 4,
    "aggregation.strategy": "fed_sb",
    "training.local_steps": 2,
    "training.learning_rate": 0.5,
    "training.server_optimizer": "sgd",
    "training.server_learning_rate": 1.0,
    "data.synthetic.examples": 120,
    "data.synthetic.quantity_skew": 0.8,
}
SPEC = AdapterSpec(entries=(Entry(name="m.lora_B.core.weight", shape=(2, 2), role=Role.BODY, module="m"),))


def moved_start(federation: Federation) -> AdapterState:
    rng = np.random.default_rng(0)
    values = federation.start.values.items()
    return AdapterState({name: value + rng.normal(0, 0.5, value.shape) for name, value in values})


def factors(federation: Federation, state: AdapterState) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """By module: (B R, A) as the file has them."""
    values = as_factors(federation.backbone.model, state).values
    ends = ".lora_B.weight", ".lora_A.weight"
    modules = [name.removesuffix(ends[0]) for name in values if name.endswith(ends[0])]
    return {module: (values[module + ends[0]], values[module + ends[1]]) for module in modules}


def test_the_server_steps_along_the_mean_core() -> None:
    (name,), strategy, shares = SPEC.names, FedSB(), [0.5, 0.2, 0.3]
    cores = np.random.default_rng(1).standard_normal((3, 2, 2))
    sent = [strategy.encode({name: core}, SPEC) for core in cores]
    assert [vector.size for vector in sent] == [4, 4, 4]
    mean = np.average(sent, axis=0, weights=shares)
    after, _ = strategy.apply(AdapterState({name: np.ones((2, 2))}), mean, SPEC, FedAvg(learning_rate=0.5))
    assert np.allclose(after[name], 1 + 0.5 * np.average(cores, axis=0, weights=shares), atol=1e-6)


def test_on_cores_fedit_is_the_same() -> None:
    before, mean = AdapterState({SPEC.names[0]: np.eye(2, dtype=np.float32)}), np.array([1.0, -2.0, 0.5, 3.0])
    after = [each.apply(before, mean, SPEC, FedAvg(learning_rate=0.5))[0] for each in (FedSB(), FedIT())]
    assert after[0].digest() == after[1].digest() != before.digest()
    change = {SPEC.names[0]: np.ones((2, 2), dtype=np.float32)}
    assert np.array_equal(FedSB().encode(change, SPEC), FedIT().encode(change, SPEC))


def test_a_round_is_the_mean_of_the_products_of_the_true_cores(
    make_federation: MakeFederation, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {
        "secure_sum.protocol": "plain",
        "secure_sum.bits": 32,
        "peft.alpha": 64.0,
        "training.learning_rate": 5.0,
    }
    federation = make_federation({**SETTINGS, **settings})
    finals: list[AdapterState] = []
    original = trainer_module.train_locally

    def spy(backbone: Any, state: AdapterState, examples: Any, task: Any) -> Any:
        update = original(backbone, state, examples, task)
        finals.append(AdapterState({key: state[key] + update.delta[key] for key in state.values}))
        return update

    monkeypatch.setattr(trainer_module, "train_locally", spy)
    before = moved_start(federation)
    context, outcome = play(federation, before)
    assert outcome.received is not None, (outcome.failure, outcome.refusals)
    after, _ = federation.strategy.apply(outcome.received, context, federation.optimizer)
    weights = [len(federation.clients[client].examples) for client in context.plan.cohort]
    assert len(set(weights)) > 1
    own = [factors(federation, final) for final in finals]
    for module, (b, a) in factors(federation, after).items():
        for exact in ("ffa", "fedex"):  # equal A; and any factors, through the dense product
            wanted_b, wanted_a = combine(exact, [found[module] for found in own], weights=weights, rank=4)
            assert np.allclose(b @ a, wanted_b @ wanted_a, atol=1e-5)
        assert np.abs(b @ a - factors(federation, before)[module][0] @ a).max() > 2e-4
    sent = len(federation.trained.entries) - 2  # classifier: weight and bias
    assert federation.sent_values == sent * 16 + sum(
        entry.size for entry in federation.trained.entries if entry.role is Role.HEAD
    )


@pytest.mark.parametrize(("protocol", "optimizer"), [("masked", "sgd"), ("helper", "adamw")])
def test_what_hides_the_clients_changes_nothing(protocol: str, optimizer: str, make_federation: MakeFederation) -> None:
    settings = {**SETTINGS, "training.local_steps": 1, "secure_sum.server": "curious"}
    if optimizer == "adamw":
        settings |= {"training.server_optimizer": "adamw", "training.server_learning_rate": 0.01}
    federations = [make_federation({**settings, "secure_sum.protocol": each}) for each in ("plain", protocol)]
    plain, hidden = (rounds(federation, moved_start(federation), 2) for federation in federations)
    assert all(np.allclose(plain[key], hidden[key], atol=1e-6) for key in plain.values)


@pytest.mark.parametrize("name", ["adagrad", "adam", "adamw", "yogi", "momentum"])
def test_every_server_optimizer_steps_cores(name: str, tiny_config: MakeConfig) -> None:
    training = tiny_config({"training.server_optimizer": name, "training.server_learning_rate": 0.01}).training
    state, cores = AdapterState({SPEC.names[0]: np.ones((2, 2))}), np.array([0.1, -0.1, 0.2, 0.3])
    after, optimizer = FedSB().apply(state, cores, SPEC, server_optimizer(training, SPEC, private=False))
    assert (np.sign(after[SPEC.names[0]] - 1).reshape(-1) == np.sign(cores)).all()
    assert optimizer.arrays()


@pytest.mark.slow
def test_an_interrupted_run_goes_on_with_the_same_cores(tiny_config: MakeConfig, tmp_path: Path) -> None:
    """Checkpoints hold cores alone; the factors are there again when the model is."""
    config = tiny_config({"peft.method": "lora_xs", "attacks.run": []})
    whole = fedpeft_secure.run(config, out=tmp_path / "whole")

    def stop(event: Event) -> None:
        if isinstance(event, RoundFinished) and event.record.round == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        training_run(config, tmp_path / "cut", resume=False, listen=stop).__enter__()
    resumed = fedpeft_secure.run(None, out=tmp_path / "cut", resume=True)
    assert resumed.utility == whole.utility
    files = [(tmp_path / run / "adapter" / "adapter_model.safetensors").read_bytes() for run in ("whole", "cut")]
    assert files[0] == files[1]
    assert whole.setup.strategy == "fed_sb"
    assert whole.setup.method == "lora_xs, rank 2, query, value"
    assert whole.communication.parameters_sent == 4 * 2 * 2 + 2 * 32 + 2
    assert all(0 < row.epsilon_spent <= 8 for row in whole.privacy.clients)
    model = PeftModel.from_pretrained(models.load_base(tmp_path / "whole"), str(tmp_path / "whole" / "adapter"))
    assert model.peft_config["default"].r == 2
