"""VeRA: one frozen pair of random projections for all layers, and two trained vectors for each (Kopiczko et al. 2024).

ΔW = diag(b) B diag(d) A. A and B follow from the run's public seed: they are neither sent nor saved.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from peft import VeraConfig
from torch import nn

from fedpeft_secure.adapters import AdapterSpec
from fedpeft_secure.methods.base import AdaptedModel, MethodOptions, heads_of
from fedpeft_secure.methods.layers import target_names
from fedpeft_secure.methods.lora import add_to


@contextmanager
def seeded_projections() -> Iterator[None]:
    """Silences PEFT's warning that projections are not saved: the processor's generator draws the same everywhere."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Specified to not (save|load) vera_A and vera_B")
        yield


def wrap(base: nn.Module, options: MethodOptions) -> tuple[AdaptedModel, AdapterSpec]:
    """Adds the two vectors to every target and unfreezes the head; b starts at zero, d at a tenth.

    Raises:
        ModelError: If the model has none of the targets.
    """
    peft = options.table
    targets = target_names(base, peft.targets, peft.layers)
    with seeded_projections():
        config = VeraConfig(
            r=peft.rank,
            target_modules=targets,
            projection_prng_key=options.seed % 2**63,
            save_projection=False,
            vera_dropout=0.0,
            modules_to_save=heads_of(base),
        )
    return add_to(base, config, options)
