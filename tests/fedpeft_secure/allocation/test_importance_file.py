from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fedpeft_secure import Config
from fedpeft_secure.allocation.adaptive import adapt, decide, menu_of
from fedpeft_secure.allocation.importance_file import described, write_importance
from fedpeft_secure.config import MeasuredImportance
from fedpeft_secure.config_file import parse_config
from fedpeft_secure.errors import ConfigError
from fedpeft_secure.preflight import check

MakeConfig = Callable[..., Config]
FREE: dict[str, Any] = {"allocation.strategy": "adaptive", "privacy.epsilon": "inf", "allocation.round_seconds": "inf"}


def table(**changes: Any) -> dict[str, Any]:
    """What was measured on the tiny model; keywords change it."""
    return {
        "model": "tiny-bert",
        "targets": ["query", "value"],
        "weights": [[0.1, 0.2], [0.3, 0.4]],
        "signal_to_noise": 20.0,
        "noise_multiplier": 5.0,
        "sample_rate": 0.25,
        "clients": 5,
        "examples": 200.0,
        "label_entropy": 1.0,
        "release": "characteristics-1",
    } | changes


def parts(config: Config) -> set[tuple[int, tuple[str, ...]]]:
    return {(decision.layers, decision.targets) for decision in decide(config)}


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ([[0.1, 0.2], [0.3, 0.4]], (2, ("query", "value"))),
        ([[0.0, 0.0], [0.3, 0.4]], (1, ("query", "value"))),
        ([[0.1, 0.0], [0.3, 0.0]], (2, ("query",))),
        ([[0.0, 0.0], [0.0, 1.0]], (1, ("value",))),
    ],
)
def test_what_counts_for_nothing_is_not_trained(
    tiny_config: MakeConfig, weights: list[list[float]], expected: tuple[int, tuple[str, ...]]
) -> None:
    config = tiny_config(FREE | {"allocation.importance": table(weights=weights)})
    assert parts(config) == {expected}
    assert adapt(config) == config, "a smaller module keeps the weights of its own layers"
    assert parse_config(config.to_dict()) == config


def test_a_tight_device_takes_the_target_that_counts_most(tiny_config: MakeConfig) -> None:
    def chosen(query: float, value: float) -> set[tuple[str, ...]]:
        limit = {"allocation.devices": {"any": {"memory_mib": 500, "gflops": 1, "upload_kib": 0.4, "share": 1}}}
        weights = {"allocation.importance": table(weights=[[query, value]] * 2)}
        return {targets for _, targets in parts(tiny_config(FREE | limit | weights))}

    assert chosen(0.1, 0.9) == {("value",)}
    assert chosen(0.9, 0.1) == {("query",)}


def test_the_measured_size_tells_how_long_a_step_takes(tiny_config: MakeConfig) -> None:
    config = tiny_config(FREE | {"allocation.importance": table(examples=600.0)})
    assert menu_of(config).expected_batch == 0.25 * 600 / 5
    assert menu_of(tiny_config(FREE)).expected_batch == 10


def test_what_was_written_is_read(tiny_config: MakeConfig, tmp_path: Path) -> None:
    found = MeasuredImportance.model_validate(table())
    write_importance(found, tmp_path / "importance.toml")
    named = tiny_config(FREE | {"allocation.importance": str(tmp_path / "importance.toml")})
    assert named.allocation.importance == found
    assert named == tiny_config(FREE | {"allocation.importance": table()})


def test_a_drowned_one_leaves_the_prior(tiny_config: MakeConfig) -> None:
    drowned = table(weights=[[0.0, 0.0], [0.0, 0.0]], signal_to_noise=4.9, examples=0.0)
    config = tiny_config(FREE | {"allocation.importance": drowned})
    assert menu_of(config) == menu_of(tiny_config(FREE))
    assert "4.9: drowned; the documented prior" in described(MeasuredImportance.model_validate(drowned))
    assert described(MeasuredImportance.model_validate(table())).endswith("with noise 5 each, signal to noise 20")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "other"}, "allocation.importance: measured on other, and this run trains tiny-bert"),
        ({"weights": [[0.1, 0.2]]}, "1 layers, and this run may train 2 of the model's 2"),
        ({"weights": [[0.1, 0.2]] * 3}, "3 layers, and this run may train 2"),
        ({"weights": [[0.1, 0.2], [0.3]]}, "every row needs one weight for each of the targets"),
        ({"targets": ["query"], "weights": [[1.0], [1.0]]}, "nothing was measured of 'value'"),
        ({"targets": ["query", "query"]}, "one weight for each of the targets"),
        ({"weights": [[0.0, 0.0], [0.0, 0.0]]}, "all are zero"),
        (
            {"weights": [[0.1, -0.2], [0.3, 0.4]]},
            "allocation.importance: should be greater than or equal to 0, got -0.2",
        ),
        ({"weights": [[0.1, float("inf")], [0.3, 0.4]]}, "should be a finite number"),
        ({"weights": []}, "should have at least 1 item"),
        ({"colour": "red"}, "allocation.importance.colour: unknown key"),
        ({"clients": 0}, "allocation.importance.clients: should be greater than or equal to 1"),
    ],
)
def test_wrong_tables_are_refused(tiny_config: MakeConfig, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as refused:
        tiny_config(FREE | {"allocation.importance": table(**changes)})
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "No such file or directory; write it by `fedpeft characteristics --out FILE`"),
        ("weights = [", "is no TOML"),
        ("\udcff", "is no TOML"),
        ("model = 'tiny-bert'", "targets: Field required; write it by"),
        ("model = 'tiny-bert'\ntargets = ['query']\nweights = [['a']]", "weights.0.0: Input should be a valid number"),
    ],
)
def test_wrong_files_are_refused(tiny_config: MakeConfig, tmp_path: Path, text: str | None, message: str) -> None:
    path = tmp_path / "importance.toml"
    if text is not None:
        path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ConfigError, match=message) as refused:
        tiny_config(FREE | {"allocation.importance": str(path)})
    assert str(refused.value).startswith(f"allocation.importance: {path}")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"allocation.strategy": "uniform"}, 'nothing looks at it under strategy = "uniform"'),
        ({"privacy.epsilon": 8.0}, "this run begins a new one; name that ledger in privacy.ledger"),
        (
            {"privacy.epsilon": 8.0, "allocation.importance": table(noise_multiplier=0.0)},
            "measured without noise, which no budget covers",
        ),
        (
            {"privacy.epsilon": 0.01, "privacy.ledger": "ours.sqlite"},
            "measuring it with noise 5 leaves nothing of client-1's budget",
        ),
    ],
)
def test_what_a_budget_would_not_hold_is_refused(
    tiny_config: MakeConfig, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        check(tiny_config(FREE | {"allocation.importance": table()} | changes))
