"""The one model that all simulated clients share: its frozen part is loaded once, adapters are swapped in and out."""

import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

import dp.persample
from fedpeft_secure import methods, models
from fedpeft_secure.adapters import AdapterSpec, AdapterState
from fedpeft_secure.clients.batches import Batch, Examples, physical_batches, split_batch
from fedpeft_secure.clients.lower_layers import ActivationStore, LowerLayers, lower_layers
from fedpeft_secure.config import Config
from fedpeft_secure.errors import ConfigError
from fedpeft_secure.label_words import CausalAnswers, answers_of
from fedpeft_secure.persample import per_example
from fedpeft_secure.seeds import Seed

KERNEL_CACHES, KERNELS = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY"), "16"
"""Environment variables of the two caches of kernels, and how many these hold."""

REPAYS = 2.0
"""Keeping what the lower layers make of a text pays once it is looked at twice."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Backbone:
    """The adapted model with hooks for per-example gradients, where and how it computes, and its public structure.

    Holding one of these, memory does not grow with the number of simulated clients. `lower` are the layers below all
    that trains, whose outputs are kept; None where everything is computed anew.
    """

    model: methods.AdaptedModel
    per_example: dp.persample.PerExampleModule
    spec: AdapterSpec
    device: torch.device
    precision: str
    answers: Literal["classes", "words"] = "classes"
    store: ActivationStore | None = field(default=None, repr=False)
    lower: LowerLayers | None = field(default=None, repr=False)

    def load(self, state: AdapterState) -> None:
        """Puts an adapter's values into the model."""
        methods.write_state(self.model, state)

    def losses(self, model: torch.nn.Module, batch: Batch) -> Tensor:
        """The loss of each example by itself, shape (batch,), fp32: no example's loss depends on another.

        Cross-entropy over the classes; −log p(words of its class | text) where the model answers in words.
        """
        if self.answers == "words":
            with self.autocast():
                said = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask, labels=batch.labels).logits
            return -said[:, 0].float()
        return torch.nn.functional.cross_entropy(self.logits(model, batch), batch.labels, reduction="none")

    def logits(self, model: torch.nn.Module, batch: Batch) -> Tensor:
        """Class scores in fp32, shape (batch, classes)."""
        with self.autocast():
            if self.lower is not None and batch.hidden is not None:
                logits = self.lower.run_above(model, batch).logits
            else:
                logits = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask).logits
        return logits.float()

    def batches(self, examples: Examples, indices: np.ndarray, *, batch_size: int) -> Iterator[Batch]:
        """Physical batches of the chosen examples; with what the lower layers make of them, where that is kept."""
        hidden = None
        if self.lower is not None:
            hidden = self.lower.prepare(
                self.model, examples, autocast=self.autocast, precision=self.precision, device=self.device
            )
        return physical_batches(examples, indices, batch_size=batch_size, device=self.device, hidden=hidden)

    def training_only(self, trained: Mapping[str, torch.nn.Parameter], *, passes: float) -> "Backbone":
        """The same for a round in which only `trained` changes: perhaps fewer layers than the adapter has.

        Args:
            trained: parameters by name.
            passes: how often an example is expected to be looked at before the server writes to the lower layers.
        """
        if self.store is None or passes < REPAYS:
            return self
        return replace(self, lower=lower_layers(self.model, trained, store=self.store))

    def autocast(self) -> AbstractContextManager[object]:
        """bfloat16 arithmetic in the frozen layers where the processor has it."""
        if self.precision == "bf16":
            return torch.autocast(self.device.type, dtype=torch.bfloat16)
        return nullcontext()


def load_adapted(
    config: Config, *, num_labels: int, classes: tuple[str, ...] = ()
) -> tuple[methods.AdaptedModel, AdapterSpec]:
    """Loads the model and adds the adapter: what is enough to know its structure.

    Args:
        config: the run's configuration.
        num_labels: classes of the task.
        classes: their names, for a model that answers in words.
    """
    base = models.load_classifier(config.model, num_labels=num_labels, seed=models.head_seed(config), classes=classes)
    _check_length(base, config)
    return methods.wrap(
        base,
        config.peft,
        public_name=models.find_model(config.model.name).public_name,
        seed=Seed(config.seed).entropy("adapter", "start"),
    )


def load_backbone(
    config: Config, *, num_labels: int, classes: tuple[str, ...] = (), store: ActivationStore | None = None
) -> tuple[Backbone, AdapterState]:
    """Loads the adapted model for training, and tries how the gradients of single examples are exact.

    Args:
        config: the run's configuration.
        num_labels: classes of the task.
        store: of an earlier run on the same texts, for what frozen lower layers make of them.

    Returns:
        The backbone and the adapter's public first values.
    """
    bound_kernel_caches()
    device = choose_device(config.model.device)
    model, spec = load_adapted(config, num_labels=num_labels, classes=classes)
    model.to(device).eval()
    backbone = Backbone(
        model=model,
        per_example=dp.persample.wrap(model, split=split_batch),
        spec=spec,
        device=device,
        precision=choose_precision(config.training.precision, device),
        answers=answers_of(model),
    )
    chosen = per_example(
        model,
        replace(backbone, precision="fp32").losses,
        max_length=config.model.max_length,
        physical_batch=config.training.physical_batch,
    )
    training = config.training
    pays = store is not None or training.rounds * training.local_steps * training.sample_rate >= REPAYS
    store = store or new_store(config)
    lower = lower_layers(model, methods.named_trainable(model), store=store) if pays else None
    return replace(backbone, per_example=chosen, store=store, lower=lower), methods.read_state(model)


def bound_kernel_caches() -> None:
    """Lets oneDNN, and torch's bridge to it, remember few kernels, unless the environment says how many.

    They keep one for every shape of batch that they ever saw, a thousand by default. Poisson samples rarely repeat a
    shape, so that this saves no time, and takes hundreds of megabytes: the more clients, the more shapes. It is read
    once, before the first multiplication of the process.
    """
    for variable in KERNEL_CACHES:
        os.environ.setdefault(variable, KERNELS)


def new_store(config: Config) -> ActivationStore:
    """An empty store of the configured size."""
    return ActivationStore(limit_bytes=config.training.activation_cache_mib * 2**20)


def _check_length(base: torch.nn.Module, config: Config) -> None:
    """Virtual tokens take positions too."""
    model: Any = base.config
    positions = getattr(model, "max_position_embeddings", None)
    if model.model_type == "roberta":  # counts from behind its padding id
        positions -= model.pad_token_id + 1
    virtual = config.peft.virtual_tokens if config.peft.method in ("prefix", "prompt") else 0
    answer = base.added_tokens if isinstance(base, CausalAnswers) else 0
    if positions is not None and config.model.max_length + virtual + answer > positions:
        behind = f", and {answer} of cue and answer," if answer else ""
        raise ConfigError(
            f"model.max_length: {config.model.max_length} and {virtual} virtual tokens{behind} exceed this model's "
            f"{positions} positions; lower it or peft.virtual_tokens"
        )


def choose_device(wanted: str) -> torch.device:
    """The device that `model.device` names; "auto" takes an accelerator where there is one.

    Raises:
        ConfigError: If the named device is not there.
    """
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if wanted == "auto":
        return torch.device(next(name for name, available in there.items() if available))
    if not there[wanted]:
        raise ConfigError(f'model.device: this machine has no {wanted!r}; use "auto" or "cpu"')
    return torch.device(wanted)


def choose_precision(wanted: str, device: torch.device) -> str:
    """ "bf16" where the hardware multiplies in it, else "fp32"; norms, clipping and noise are fp32 either way."""
    if wanted != "auto":
        return wanted
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported() else "fp32"
    capabilities = torch.cpu.get_capabilities()
    return "bf16" if capabilities.get("avx512_bf16") or capabilities.get("amx_bf16") else "fp32"
