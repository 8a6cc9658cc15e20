import numpy as np
import pytest
import torch

from fedpeft_secure.adapters import AdapterSpec, Entry, Role
from fedpeft_secure.aggregation import server_optimizer
from fedpeft_secure.aggregation.server_optimizers import FedAdamW, FedAvg, FedOpt, decayed_rate
from fedpeft_secure.config import TrainingConfig

TRAINED = AdapterSpec(
    entries=(
        Entry(name="a.lora_B.weight", shape=(2, 2), role=Role.LORA_B, module="a"),
        Entry(name="classifier.bias", shape=(3,), role=Role.HEAD, module="classifier"),
    )
)
RNG = np.random.default_rng(0)
START = RNG.standard_normal(7)
CHANGES = RNG.standard_normal((6, 7)) * np.array([1, 10, 1e-4, 1, 1, 1, 0])


def torch_adamw(values: np.ndarray, changes: np.ndarray, *, learning_rate: float, rates: list[float] | None = None):
    parameter = torch.nn.Parameter(torch.from_numpy(values.copy()))
    optimizer = torch.optim.AdamW([parameter], lr=learning_rate, weight_decay=0.01)
    seen = []
    for step, change in enumerate(changes):
        if rates is not None:
            optimizer.param_groups[0]["lr"] = rates[step]
        parameter.grad = torch.from_numpy(-change)
        optimizer.step()
        seen.append(parameter.detach().numpy().copy())
    return seen


def test_fedadamw_is_pytorchs_adamw_on_the_negative_mean_change() -> None:
    values, optimizer = START, FedAdamW(learning_rate=0.05)
    for change, expected in zip(CHANGES, torch_adamw(START, CHANGES, learning_rate=0.05), strict=True):
        values, optimizer = optimizer.step(values, change)
        assert np.allclose(values, expected, rtol=1e-12, atol=1e-12)


def test_it_is_pytorchs_adamw_with_a_falling_rate_too() -> None:
    rates = [0.05 * (1 - step / 6) for step in range(6)]
    values, optimizer = START, FedAdamW(learning_rate=0.05, decay_steps=6)
    expected = torch_adamw(START, CHANGES, learning_rate=0.05, rates=rates)
    for change, wanted in zip(CHANGES, expected, strict=True):
        values, optimizer = optimizer.step(values, change)
        assert np.allclose(values, wanted, rtol=1e-12, atol=1e-12)


def test_fedavg_at_rate_one_adds_the_mean_change() -> None:
    values, _ = FedAvg(learning_rate=1.0).step(START, CHANGES[0])
    assert (values == START + CHANGES[0]).all()


def test_fedavg_with_a_falling_rate() -> None:
    values, optimizer = np.zeros(1), FedAvg(learning_rate=0.5, decay_steps=4)
    seen = []
    for _ in range(5):
        values, optimizer = optimizer.step(values, np.ones(1))
        seen.append(float(values[0]))
    assert np.allclose(np.diff([0.0, *seen]), [0.5, 0.375, 0.25, 0.125, 0.0])


def test_momentum_is_pytorchs() -> None:
    parameter = torch.nn.Parameter(torch.from_numpy(START.copy()))
    reference = torch.optim.SGD([parameter], lr=0.3, momentum=0.8)
    values, optimizer = START, FedAvg(learning_rate=0.3, momentum=0.8)
    for change in CHANGES:
        parameter.grad = torch.from_numpy(-change)
        reference.step()
        values, optimizer = optimizer.step(values, change)
        assert np.allclose(values, parameter.detach().numpy(), rtol=1e-12, atol=1e-12)


def test_fedadagrad_without_a_running_mean_is_pytorchs_adagrad() -> None:
    parameter = torch.nn.Parameter(torch.from_numpy(START.copy()))
    reference = torch.optim.Adagrad([parameter], lr=0.2, initial_accumulator_value=1e-6, eps=1e-3)
    values, optimizer = START, FedOpt(learning_rate=0.2, rule="adagrad", beta1=0.0)
    for change in CHANGES:
        parameter.grad = torch.from_numpy(-change)
        reference.step()
        values, optimizer = optimizer.step(values, change)
        assert np.allclose(values, parameter.detach().numpy(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("rule", "second"), [("adam", 0.99 * 1e-6 + 0.01 * 4), ("yogi", 1e-6 + 0.01 * 4)])
def test_adam_forgets_and_yogi_moves_towards_the_square(rule: str, second: float) -> None:
    moved, optimizer = FedOpt(learning_rate=0.5, rule=rule).step(np.zeros(1), np.array([2.0]))
    assert optimizer.arrays()["square"] == pytest.approx(second)
    assert moved == pytest.approx(0.5 * 0.1 * 2 / (second**0.5 + 1e-3))
    _, later = optimizer.step(moved, np.array([0.1]))  # the square of the change is now below what is remembered
    expected = {"adam": 0.99 * second + 0.01 * 0.01, "yogi": second - 0.01 * 0.01}[rule]
    assert later.arrays()["square"] == pytest.approx(expected)


@pytest.mark.parametrize(
    "optimizer",
    [
        FedAdamW(learning_rate=0.1, decay_steps=9),
        FedAvg(learning_rate=0.1, decay_steps=9),
        FedAvg(learning_rate=0.1, momentum=0.9),
        *(FedOpt(learning_rate=0.1, rule=rule) for rule in ("adam", "yogi", "adagrad")),
    ],
)
def test_a_restored_optimiser_goes_on_exactly(optimizer: FedAdamW | FedAvg | FedOpt) -> None:
    values, state = START, optimizer
    for change in CHANGES[:3]:
        values, state = state.step(values, change)
    restored = optimizer.restore({name: array.copy() for name, array in state.arrays().items()})
    for change in CHANGES[3:]:
        (values_a, state), (values_b, restored) = state.step(values, change), restored.step(values, change)
        assert (values_a == values_b).all()
        values = values_a


@pytest.mark.parametrize("optimizer", [FedAdamW(learning_rate=0.1), FedAvg(learning_rate=0.1)])
def test_a_checkpoint_before_the_first_step_restores_a_fresh_one(optimizer: FedAdamW | FedAvg) -> None:
    restored = optimizer.restore(optimizer.arrays())
    assert (restored.step(START, CHANGES[0])[0] == optimizer.step(START, CHANGES[0])[0]).all()


def test_a_step_changes_no_argument() -> None:
    values, change = START.copy(), CHANGES[0].copy()
    optimizer = FedAdamW(learning_rate=0.1)
    _, after = optimizer.step(values, change)
    before = {name: array.copy() for name, array in after.arrays().items()}
    after.step(values, change)
    assert (values == START).all()
    assert (change == CHANGES[0]).all()
    assert optimizer.arrays() == {}
    assert all((after.arrays()[name] == before[name]).all() for name in before)


def test_moments_are_turned_by_their_power_and_steps_stay() -> None:
    _, optimizer = FedAdamW(learning_rate=0.1).step(START, CHANGES[0])
    turned = optimizer.turned(lambda memory, power: memory * 10**power)
    assert np.allclose(turned.arrays()["mean"], 10 * optimizer.arrays()["mean"])
    assert np.allclose(turned.arrays()["square"], 100 * optimizer.arrays()["square"])
    assert turned.arrays()["steps"] == optimizer.arrays()["steps"]


def test_there_is_nothing_to_turn_before_the_first_step_or_without_memory() -> None:
    def forbidden(memory: np.ndarray, power: int) -> np.ndarray:
        raise AssertionError

    for optimizer in (FedAdamW(learning_rate=0.1), FedAvg(learning_rate=0.1)):
        assert optimizer.turned(forbidden) is optimizer


@pytest.mark.parametrize(
    ("steps", "decay_steps", "rate"),
    [(0, None, 2.0), (99, None, 2.0), (0, 4, 2.0), (1, 4, 1.5), (4, 4, 0.0), (9, 4, 0.0)],
)
def test_the_rate_of_a_step(steps: int, decay_steps: int | None, rate: float) -> None:
    assert decayed_rate(2.0, steps, decay_steps) == rate


def test_the_configuration_names_optimiser_rate_and_schedule() -> None:
    adamw = server_optimizer(TrainingConfig(rounds=7, server_learning_rate=0.3), TRAINED, private=True)
    assert isinstance(adamw, FedAdamW)
    assert (adamw.learning_rate, adamw.decay_steps) == (0.3, 7)
    sgd = server_optimizer(TrainingConfig(server_optimizer="sgd", server_schedule="constant"), TRAINED, private=True)
    assert isinstance(sgd, FedAvg)
    assert sgd.decay_steps is None


@pytest.mark.parametrize(
    ("schedule", "private", "falls"),
    [("auto", True, True), ("auto", False, False), ("linear", False, True), ("constant", True, False)],
)
def test_the_rate_falls_where_there_is_noise_to_average(schedule: str, private: bool, falls: bool) -> None:
    optimizer = server_optimizer(TrainingConfig(server_schedule=schedule, rounds=9), TRAINED, private=private)
    assert isinstance(optimizer, FedAdamW)
    assert optimizer.decay_steps == (9 if falls else None)


def test_the_last_round_of_a_linear_schedule_still_counts() -> None:
    training = TrainingConfig(rounds=5, server_learning_rate=1.0, server_optimizer="sgd")
    values, optimizer = np.zeros(1), server_optimizer(training, TRAINED, private=True)
    for _ in range(5):
        before = values
        values, optimizer = optimizer.step(values, np.ones(1))
    assert (values - before)[0] == pytest.approx(0.2)


@pytest.mark.parametrize(("name", "rule"), [("adam", "adam"), ("yogi", "yogi"), ("adagrad", "adagrad")])
def test_the_adaptive_optimisers_are_named_in_the_configuration(name: str, rule: str) -> None:
    found = server_optimizer(TrainingConfig.model_validate({"server_optimizer": name}), TRAINED, private=True)
    assert isinstance(found, FedOpt)
    assert found.rule == rule
    assert found.factors is not None
    assert found.decay_steps == 24


def test_momentum_is_named_in_the_configuration() -> None:
    training = TrainingConfig(server_optimizer="momentum", server_momentum=0.7)
    assert server_optimizer(training, TRAINED, private=False).momentum == 0.7  # type: ignore[attr-defined]


def test_the_head_learns_faster_than_the_factors_under_adamw_only() -> None:
    training = TrainingConfig(server_learning_rate=0.01, server_head_factor=5.0, server_schedule="constant")
    moved, _ = server_optimizer(training, TRAINED, private=True).step(np.zeros(7), np.ones(7))
    np.testing.assert_allclose(moved, [0.01] * 4 + [0.05] * 3, rtol=1e-6)
    averaging = training.model_copy(update={"server_optimizer": "sgd"})
    moved, _ = server_optimizer(averaging, TRAINED, private=True).step(np.zeros(7), np.ones(7))
    np.testing.assert_allclose(moved, [0.01] * 7)
