from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fedpeft_secure import Config
from fedpeft_secure.allocation.device_terms import client_devices
from fedpeft_secure.allocation.profile import measure_device, write_profile
from fedpeft_secure.cli import app
from fedpeft_secure.errors import ConfigError

MakeConfig = Callable[..., Config]


def test_a_measured_profile_can_be_named(tiny_config: MakeConfig, tmp_path: Path) -> None:
    found = measure_device(tiny_config())
    assert len(found.steps) == 6
    assert all(seconds > 0 for _, seconds, _ in found.steps)
    assert found.device.memory_bytes > 2**20
    path = tmp_path / "this.toml"
    write_profile(found, path)
    kinds = {"this": {"profile": str(path), "share": 1.0}}
    device = client_devices(tiny_config({"allocation.strategy": "adaptive", "allocation.devices": kinds}))[0]
    assert device.seconds_per_flop == pytest.approx(found.device.seconds_per_flop)
    assert device.seconds_per_kernel == pytest.approx(found.device.seconds_per_kernel)
    assert device.seconds_per_byte == pytest.approx(found.device.seconds_per_byte)
    assert device.memory_bytes == pytest.approx(found.device.memory_bytes)


def test_methods_without_a_cost_have_no_profile(tiny_config: MakeConfig) -> None:
    with pytest.raises(ConfigError, match="no cost is known of 'bitfit'"):
        measure_device(tiny_config({"peft.method": "bitfit"}))


def test_the_command_writes_a_new_file(tiny_bert: Path, tmp_path: Path) -> None:
    path = tmp_path / "profile.toml"
    given = ["doctor", "--set", f'model.name="{tiny_bert}"', "--set", "model.max_length=16", "--profile", str(path)]
    shown = CliRunner().invoke(app, given)
    assert shown.exit_code == 0, shown.output
    assert "by the profile" in shown.output
    assert "gflops" in path.read_text()
    again = CliRunner().invoke(app, given)
    assert again.exit_code == 2
    assert "give a new file" in again.output
    assert CliRunner().invoke(app, ["doctor", "--set", "seed=1"]).exit_code == 2
