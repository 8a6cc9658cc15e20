import numpy as np
import pytest

from fedpeft_secure.adapters import AdapterSpec, AdapterState, Entry, Role, flatten
from fedpeft_secure.aggregation.adalora import AdaLoRA, importance, keep_best, towards_orthogonal
from fedpeft_secure.aggregation.choose import choose_strategy
from fedpeft_secure.aggregation.on_tensors import OnTensors
from fedpeft_secure.aggregation.server_optimizers import FedAdamW, FedAvg
from fedpeft_secure.config_file import parse_config
from fedpeft_secure.errors import ConfigError

RANK = 3


def entry(module: str, part: str, shape: tuple[int, ...]) -> Entry:
    return Entry(name=f"{module}.{part}", shape=shape, role=Role.BODY, module=module)


SPEC = AdapterSpec(
    entries=(
        *(
            entry(module, part, shape)
            for module in ("one", "two")
            for part, shape in (("lora_A", (RANK, 6)), ("lora_B", (5, RANK)), ("lora_E", (RANK, 1)))
        ),
        Entry(name="z.classifier.weight", shape=(2, 4), role=Role.HEAD, module="z.classifier"),
    )
)


def random_state(seed: int) -> AdapterState:
    rng = np.random.default_rng(seed)
    return AdapterState({each.name: rng.standard_normal(each.shape) for each in SPEC.entries})


def singular_values(state: AdapterState) -> np.ndarray:
    return np.concatenate([state[f"{module}.lora_E"][:, 0] for module in ("one", "two")])


def test_the_lowest_scores_of_all_modules_are_pruned() -> None:
    state, mean = random_state(0), flatten(random_state(1), SPEC)
    strategy = AdaLoRA(rounds=1, target_rank=2)  # the only round is the last: four triplets of six stay
    after, _ = strategy.apply(state, mean, SPEC, FedAvg(learning_rate=1.0))
    scores = _scores_by_hand(state, mean)
    assert (singular_values(after) != 0).tolist() == (scores >= np.sort(scores)[2]).tolist()
    assert np.allclose(after["z.classifier.weight"], (flatten(state, SPEC) + mean)[-8:].reshape(2, 4), atol=1e-6)


def _scores_by_hand(state: AdapterState, mean: np.ndarray) -> np.ndarray:
    found, start, slopes = [], 0, {}
    for each in SPEC.entries:
        slopes[each.name] = mean[start : start + each.size].reshape(each.shape)
        start += each.size
    for module in ("one", "two"):
        q, p, e = (f"{module}.lora_{part}" for part in "ABE")
        stepped = {name: state[name].astype(np.float64) + slopes[name] for name in (q, p, e)}
        stepped[q] = towards_orthogonal(stepped[q])
        stepped[p] = towards_orthogonal(stepped[p].T).T
        for i in range(RANK):
            found.append(
                abs(stepped[e][i, 0] * slopes[e][i, 0])
                + np.mean([abs(stepped[p][j, i] * slopes[p][j, i]) for j in range(5)])
                + np.mean([abs(stepped[q][i, j] * slopes[q][i, j]) for j in range(6)])
            )
    return np.array(found)


def test_scores_read_the_optimisers_momentum_where_there_is_one() -> None:
    """A round's mean is mostly noise under DP; the momentum has seen them all."""
    state, means = random_state(0), [flatten(random_state(seed), SPEC) for seed in (1, 2, 3)]
    optimizer = FedAdamW(learning_rate=1e-9, beta1=0.99)
    strategy = AdaLoRA(rounds=3, target_rank=1)
    for mean in means:
        after, optimizer = strategy.apply(state, mean, SPEC, optimizer)
    smoothed = sum(0.01 * 0.99 ** (2 - i) * mean for i, mean in enumerate(means))
    # At a vanishing rate the values stay, so that only the slopes differ from those of one large round.
    scores = _scores_by_hand(AdapterState(state.values), smoothed * 1e-6)
    assert (singular_values(after) != 0).tolist() == (scores >= np.sort(scores)[-2]).tolist()


def test_the_budget_falls_from_all_to_the_target() -> None:
    strategy = AdaLoRA(rounds=20, target_rank=2)
    budgets = [strategy.budget(done, ranks=12, of=2) for done in range(21)]
    assert budgets[:3] == [12, 12, 12]
    assert budgets[14:] == [4] * 7
    assert budgets == sorted(budgets, reverse=True)
    assert budgets[8] == round(4 + 8 * (6 / 12) ** 3)


def test_a_resumed_run_goes_on_with_the_same_budget() -> None:
    state, mean = random_state(0), flatten(random_state(1), SPEC)
    strategy, first = AdaLoRA(rounds=5, target_rank=1), FedAdamW(learning_rate=0.1)
    once, optimizer = strategy.apply(state, mean, SPEC, first)
    through = strategy.apply(once, mean, SPEC, optimizer)[0]
    resumed = strategy.apply(once, mean, SPEC, first.restore(optimizer.arrays()))[0]
    assert resumed.digest() == through.digest()


def test_the_regulariser_pulls_towards_orthonormal_rows() -> None:
    rng = np.random.default_rng(0)
    for scale in (0.01, 1.0, 100.0):
        rows = scale * rng.standard_normal((4, 30))
        for _ in range(200):
            rows = towards_orthogonal(rows)
        assert np.allclose(rows @ rows.T, np.eye(4), atol=1e-6)
    orthonormal = np.linalg.qr(rng.standard_normal((30, 4)))[0].T
    assert np.allclose(towards_orthogonal(orthonormal), orthonormal)


def test_keeping_none_and_all() -> None:
    scores = {"b": np.array([3.0, 1.0]), "a": np.array([2.0])}
    assert {name: kept.tolist() for name, kept in keep_best(scores, 2).items()} == {"a": [True], "b": [True, False]}
    assert not any(kept.any() for kept in keep_best(scores, 0).values())
    assert all(kept.all() for kept in keep_best(scores, 3).values())


def test_importance_is_the_sum_of_three_sensitivities() -> None:
    values = {"m.lora_E": np.array([[2.0]]), "m.lora_B": np.array([[1.0], [3.0]]), "m.lora_A": np.array([[1.0, -5.0]])}
    slopes = {"m.lora_E": np.array([[-1.0]]), "m.lora_B": np.ones((2, 1)), "m.lora_A": np.ones((1, 2))}
    assert importance(values, slopes, "m.") == pytest.approx([2 + 2 + 3])


def test_auto_takes_it_for_its_method_and_others_cannot() -> None:
    strategy, reason = choose_strategy(parse_config({"peft": {"method": "adalora", "rank": 6}}))
    assert isinstance(strategy, OnTensors)
    assert strategy.strategy == AdaLoRA(rounds=24, target_rank=4)
    assert "from the sums alone" in reason
    with pytest.raises(ConfigError, match=r'^aggregation.strategy: "adalora" prunes .* \'lora\' has not; use "auto"'):
        choose_strategy(parse_config({"aggregation": {"strategy": "adalora"}}))
    with pytest.raises(ConfigError, match=r"^peft.target_rank: 9 is above peft.rank = 6"):
        choose_strategy(parse_config({"peft": {"method": "adalora", "rank": 6, "target_rank": 9}}))
