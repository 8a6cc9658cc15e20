from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fedpeft_secure import Config, run
from fedpeft_secure.allocation.adaptive import adapt, adaptive_allotments, decide, fewest_fillers, uneven
from fedpeft_secure.allocation.deal import deal_allotments
from fedpeft_secure.allocation.device_terms import MIX, client_devices, read_profiles
from fedpeft_secure.config_file import parse_config
from fedpeft_secure.errors import ConfigError, ModelError
from fedpeft_secure.events import Notice
from fedpeft_secure.rundir import RunDirectory, read_rounds
from fedpeft_secure.server.federation import Federation

MakeConfig = Callable[..., Config]
ADAPTIVE = {"allocation.strategy": "adaptive"}


def memory_for(make: MakeConfig, layers: int) -> float:
    """MiB that `layers` of the two layers fit in, and no more."""
    plain = make({**ADAPTIVE, "peft.layers": layers, "training.physical_batch": 4})
    return decide(plain)[0].peak_bytes / 2**20 + 1e-4


def with_devices(weak: float, strong: float, *, weak_ones: int) -> dict[str, Any]:
    return ADAPTIVE | {
        "training.physical_batch": 4,
        "allocation.devices": {
            f"client-{index}": {"memory_mib": weak if index <= weak_ones else strong, "gflops": 10}
            for index in range(1, 6)
        },
    }


def test_weak_devices_train_fewer_layers(tiny_config: MakeConfig) -> None:
    weak = memory_for(tiny_config, 1)
    config = tiny_config(with_devices(weak, 500.0, weak_ones=2) | {"secure_sum.dropout_fraction": 0.0})
    decisions = decide(config)
    assert [decision.layers for decision in decisions] == [1, 1, 2, 2, 2]
    assert all(decision.peak_bytes <= weak * 2**20 for decision in decisions[:2])
    assert f"of {weak:.0f} MiB" in decisions[0].reason
    allotments = deal_allotments(config)
    assert [part.layers for part in allotments] == [1, 1, 0, 0, 0]
    assert allotments == adaptive_allotments(config)


def test_layers_that_too_few_could_fill_are_left_out(tiny_config: MakeConfig) -> None:
    config = tiny_config(with_devices(memory_for(tiny_config, 1), 500.0, weak_ones=3))
    assert fewest_fillers(config) == 4, "three survivors of a cohort of five that loses one"
    assert [decision.layers for decision in decide(config)] == [1] * 5
    assert config.peft.layers == 1, "what nobody trains is not in the module"


def test_layers_that_fewer_train_than_wished_are_left_out(tiny_config: MakeConfig) -> None:
    weak = with_devices(memory_for(tiny_config, 1), 500.0, weak_ones=2) | {"secure_sum.dropout_fraction": 0.0}
    for holders, layers in ((0.6, [1, 1, 2, 2, 2]), (0.61, [1] * 5), (1.0, [1] * 5)):
        decisions = decide(tiny_config(weak | {"allocation.holders": holders}))
        assert [decision.layers for decision in decisions] == layers
        assert (uneven(decisions) is None) == (layers == [1] * 5)


def test_adapting_twice_changes_nothing(tiny_config: MakeConfig) -> None:
    config = tiny_config(with_devices(memory_for(tiny_config, 1), 500.0, weak_ones=3))
    assert adapt(config) == config
    assert parse_config(config.to_dict()) == config
    uniform = tiny_config()
    assert adapt(uniform) == uniform


def test_more_noise_lowers_the_rank(tiny_config: MakeConfig) -> None:
    ranks = [
        tiny_config(ADAPTIVE | {"peft.rank": 8, "privacy.epsilon": epsilon}).peft.rank for epsilon in ("inf", 8.0, 0.05)
    ]
    assert ranks[0] == 8
    assert ranks == sorted(ranks, reverse=True)
    assert ranks[-1] < 8


def test_devices_are_drawn_by_the_seed(tiny_config: MakeConfig) -> None:
    def kinds(seed: int) -> list[str]:
        found = client_devices(tiny_config(ADAPTIVE | {"clients.count": 200, "clients.per_round": 200, "seed": seed}))
        return [device.kind for device in found]

    assert kinds(1) == kinds(1) != kinds(2)
    for kind, terms in MIX.items():
        assert kinds(1).count(kind) == pytest.approx(20 * (terms.share or 0), abs=25)


def test_a_profile_is_read(tiny_config: MakeConfig, tmp_path: Path) -> None:
    profile = tmp_path / "laptop.toml"
    profile.write_text("[device]\nmemory_mib = 900.0\ngflops = 40.0\nseconds_per_kernel = 0.001\n")
    kinds = {"laptop": {"profile": str(profile), "memory_mib": 700.0, "share": 1.0}}
    config = tiny_config(ADAPTIVE | {"allocation.devices": kinds})
    device = client_devices(config)[0]
    assert (device.kind, device.memory_bytes, device.seconds_per_kernel) == ("laptop", 700 * 2**20, 0.001)
    profile.unlink()
    assert read_profiles(config) == config, "the values are in the configuration now"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"peft.method": "bitfit"}, "deals layers and ranks of LoRA, and not of 'bitfit'"),
        ({"allocation.ranks": [1, 2]}, '"adaptive" decides the ranks'),
        ({"privacy.unit": "client"}, "noise shares of whole clients fill every slot"),
        ({"allocation.devices": {"client-9": {"memory_mib": 9, "gflops": 1}}}, "no client 'client-9'"),
        ({"allocation.devices": {"client-1": {"memory_mib": 9, "gflops": 1}}}, "client-2 has no device"),
        ({"allocation.devices": {"phone": {"memory_mib": 9, "share": 1}}}, "phone has no gflops"),
        (
            {"allocation.devices": {"phone": {"memory_mib": 0.1, "gflops": 1, "share": 1}}},
            "cannot train even one layer",
        ),
        (
            {"allocation.devices": {"phone": {"memory_mib": 99, "gflops": 1, "upload_kib": 0.01, "share": 1}}},
            r"within everybody's upload_kib \(the smallest takes \d+ bytes\)",
        ),
        ({"allocation.devices": {"phone": {"profile": "/nowhere", "share": 1}}}, "fedpeft doctor --profile FILE"),
    ],
)
def test_refusals(tiny_config: MakeConfig, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        tiny_config(ADAPTIVE | changes)


def test_t5_is_refused(tiny_t5: Path, tiny_config: MakeConfig) -> None:
    with pytest.raises(ModelError, match="type t5 are not modelled"):
        tiny_config(ADAPTIVE | {"model.name": str(tiny_t5)})


def test_clients_train_as_decided(tiny_config: MakeConfig, make_federation: Callable[..., Federation]) -> None:
    changes = with_devices(memory_for(tiny_config, 1), 500.0, weak_ones=2) | {"secure_sum.dropout_fraction": 0.0}
    federation = make_federation(changes)
    assert [federation.agreed.allotment(name).layers for name in federation.clients] == [1, 1, 0, 0, 0]
    assert {client.physical_batch for client in federation.clients.values()} == {4}


def test_the_main_job_runs_and_says_who_trained_what(tiny_config: MakeConfig, tmp_path: Path) -> None:
    changes = with_devices(memory_for(tiny_config, 1), 500.0, weak_ones=2) | {"secure_sum.dropout_fraction": 0.0}
    heard: list[str] = []
    result = run(
        tiny_config(changes | {"attacks.run": []}),
        out=tmp_path / "run",
        listen=lambda event: heard.append(event.text) if isinstance(event, Notice) else None,
    )
    assert [row.layers for row in result.setup.allocation] == [1, 1, 2, 2, 2]
    assert result.setup.allocation[0].reason in "".join(heard)
    assert [line for line in heard if line.startswith("3 of 5 clients alone train the deepest layers")]
    assert all(record.failure == "" for record in read_rounds(RunDirectory(root=tmp_path / "run")))
