"""Who has which device: declared by client, measured, or drawn from kinds with shares by the run's seed."""

import math
import tomllib
from pathlib import Path

from pydantic import ValidationError

from fedpeft_secure.allocation.devices import GIGA, MIB, Device
from fedpeft_secure.config import Config, DeviceTerms
from fedpeft_secure.errors import ConfigError
from fedpeft_secure.seeds import Seed

MIX = {
    "small": DeviceTerms(memory_mib=256, gflops=20, share=6),
    "medium": DeviceTerms(memory_mib=512, gflops=60, share=3),
    "large": DeviceTerms(memory_mib=2048, gflops=200, share=1),
}
"""Where nothing is declared: many small devices, some medium ones, few large ones, 6 : 3 : 1."""


def read_profiles(config: Config) -> Config:
    """The configuration with the values of profile files in place of their names.

    Raises:
        ConfigError: If a file cannot be read or is no profile.
    """
    devices = {name: _with_profile(name, terms) for name, terms in config.allocation.devices.items()}
    return config.model_copy(update={"allocation": config.allocation.model_copy(update={"devices": devices})})


def client_devices(config: Config) -> tuple[Device, ...]:
    """Everybody's device, in order.

    Raises:
        ConfigError: If a client has none, or one without memory or arithmetic.
    """
    declared = dict(config.allocation.devices)
    own = {name: terms for name, terms in declared.items() if terms.share is None}
    if unknown := sorted(set(own) - set(config.client_names)):
        raise ConfigError(
            f"allocation.devices: no client {unknown[0]!r}; names run from client-1 to client-{config.clients.count}, "
            "and a kind of device has a share"
        )
    kinds = {name: terms for name, terms in declared.items() if terms.share is not None}
    if not kinds and len(own) < config.clients.count:
        if own:
            missing = next(client for client in config.client_names if client not in own)
            raise ConfigError(
                f"allocation.devices: {missing} has no device; declare it, or kinds with shares to draw it from"
            )
        kinds = MIX
    drawn = _draw(config, kinds) if kinds else {}
    return tuple(
        _device(client, own[client]) if client in own else _device(drawn[client], kinds[drawn[client]])
        for client in config.client_names
    )


def _draw(config: Config, kinds: dict[str, DeviceTerms]) -> dict[str, str]:
    """A kind for every client, with the probability of its share."""
    rng = Seed(config.seed).child("devices")
    shares = [terms.share or 0.0 for terms in kinds.values()]
    total = sum(shares)
    drawn = rng.choice(len(kinds), size=config.clients.count, p=[share / total for share in shares])
    names = list(kinds)
    return {client: names[index] for client, index in zip(config.client_names, drawn, strict=True)}


def _device(name: str, terms: DeviceTerms) -> Device:
    if terms.memory_mib is None or terms.gflops is None:
        lacking = "memory_mib" if terms.memory_mib is None else "gflops"
        raise ConfigError(f"allocation.devices: {name} has no {lacking}; give it, or a profile of `fedpeft doctor`")
    return Device(
        kind=name,
        memory_bytes=terms.memory_mib * MIB,
        seconds_per_flop=1 / (terms.gflops * GIGA),
        seconds_per_byte=(terms.seconds_per_gib or 0.0) / 2**30,
        seconds_per_kernel=terms.seconds_per_kernel or 0.0,
        upload_bytes=math.inf if terms.upload_kib is None else terms.upload_kib * 1024,
    )


def _with_profile(name: str, terms: DeviceTerms) -> DeviceTerms:
    if not terms.profile:
        return terms
    where = f"allocation.devices: {name}: {terms.profile}"
    try:
        written = tomllib.loads(Path(terms.profile).expanduser().read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"{where}: {error.strerror}; write it by `fedpeft doctor --profile FILE`") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{where} is no TOML: {error}; write it by `fedpeft doctor --profile FILE`") from None
    given = {key: value for key, value in terms.model_dump().items() if key != "profile"}
    try:
        return DeviceTerms.model_validate({**written.get("device", {}), **given})
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigError(f"{where}: {first['loc'][-1]}: {first['msg']}; write it anew") from None
