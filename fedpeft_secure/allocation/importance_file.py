"""The public file of `fedpeft characteristics`: written, read into the configuration, and held against the run."""

import tomllib
from pathlib import Path

import tomli_w
from pydantic import ValidationError

from fedpeft_secure.allocation.shapes import ModelShape
from fedpeft_secure.config import Config, MeasuredImportance
from fedpeft_secure.errors import ConfigError
from fedpeft_secure.models import find_model
from fedpeft_secure.rundir import write_atomically

REMEDY = "write it by `fedpeft characteristics --out FILE`"
SETTING = "allocation.importance"


def write_importance(found: MeasuredImportance, path: Path) -> None:
    """Writes the file that `allocation.importance` can name, as TOML."""
    write_atomically(path, tomli_w.dumps(found.model_dump(mode="json")).encode())


def read_importance(config: Config) -> Config:
    """The configuration with what the file says in place of its name: a run never looks at the file again.

    Raises:
        ConfigError: If the file cannot be read or is none of ours.
    """
    given = config.allocation.importance
    if not given or isinstance(given, MeasuredImportance):
        return config
    found = _read(Path(given).expanduser())
    return config.model_copy(update={"allocation": config.allocation.model_copy(update={"importance": found})})


def importance_of(config: Config, shape: ModelShape) -> MeasuredImportance | None:
    """What was measured for this run's module; None where the prior counts: nothing was, or it drowned in its noise.

    Raises:
        ConfigError: If it was measured on another model, or on fewer layers or targets.
    """
    found = config.allocation.importance
    if not isinstance(found, MeasuredImportance):
        return None
    model = find_model(config.model.name).public_name
    if found.model != model:
        raise ConfigError(f"{SETTING}: measured on {found.model}, and this run trains {model}; measure this one")
    widths = {len(row) for row in found.weights}
    if widths != {len(found.targets)} or len(set(found.targets)) < len(found.targets):
        raise ConfigError(f"{SETTING}.weights: every row needs one weight for each of the targets; {REMEDY}")
    layers = min(config.peft.layers or shape.layers, shape.layers)
    if not layers <= len(found.weights) <= shape.layers:
        raise ConfigError(
            f"{SETTING}.weights: {len(found.weights)} layers, and this run may train {layers} of the model's "
            f"{shape.layers}; measure with the same peft.layers"
        )
    if missing := [target for target in config.peft.targets if target not in found.targets]:
        raise ConfigError(f"{SETTING}.targets: nothing was measured of {missing[0]!r}; measure with it in peft.targets")
    if found.drowned:
        return None
    if not sum(map(sum, found.weights)) > 0:
        raise ConfigError(f"{SETTING}.weights: all are zero; {REMEDY}")
    return found


def described(found: MeasuredImportance) -> str:
    """What it is worth, in words."""
    whose = f"{found.clients} clients" + (
        f" with noise {found.noise_multiplier:g} each" if found.private else ", without noise"
    )
    if found.drowned:
        return (
            f"importance: measured over {whose}, but signal to noise is {found.signal_to_noise:.2g}: drowned; the "
            "documented prior counts in its place"
        )
    return f"importance: measured over {whose}, signal to noise {found.signal_to_noise:.3g}"


def _read(path: Path) -> MeasuredImportance:
    where = f"{SETTING}: {path}"
    try:
        written = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"{where}: {error.strerror}; {REMEDY}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{where} is no TOML: {error}; {REMEDY}") from None
    try:
        return MeasuredImportance.model_validate(written)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"{where}: {key}: {first['msg']}; {REMEDY}") from None
