"""Every method on every architecture that has it: trainable parts, state, files; what does not fit says so."""

from pathlib import Path

import numpy as np
import pytest
import torch
from peft import PeftModel
from torch import nn

from fedpeft_secure import methods, models
from fedpeft_secure.adapters import AdapterState, Role
from fedpeft_secure.config import ModelConfig, PeftTable
from fedpeft_secure.errors import ModelError
from fedpeft_secure.methods.files import OWN_METHOD

IDS = torch.tensor([[5, 6, 7, 1], [8, 9, 1, 0]])
MASK = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]])
SECOND_HEADS = dict.fromkeys(("dora", "vera", "adalora", "ia3", "adapter", "full", "head"), ("tiny_distilbert",))
"""Where a method is tried with the model's own head too, if not everywhere: it is one more module to these."""

EVERYWHERE = ("tiny_bert", "tiny_roberta", "tiny_distilbert", "tiny_t5")
FACTORS = {"dora": {Role.LORA_A, Role.LORA_B}}
FITTING = [
    (method, architecture, pooling)
    for method, architectures in {
        **dict.fromkeys(("dora", "vera", "adalora", "ia3", "adapter", "full", "head"), EVERYWHERE),
        "bitfit": ("tiny_bert", "tiny_roberta", "tiny_distilbert"),
        "prompt": ("tiny_bert", "tiny_roberta", "tiny_distilbert", "tiny_t5"),
        "prefix": ("tiny_bert", "tiny_roberta", "tiny_distilbert", "tiny_t5"),
    }.items()
    for architecture in architectures
    for pooling in ("mean", "model")
    if pooling == "mean" or architecture in SECOND_HEADS.get(method, architectures)
    if (method, architecture, pooling) != ("prompt", "tiny_t5", "model")
]


UNUSED = ("relative_attention_bias.weight",)


def base_of(path: Path, pooling: str = "mean") -> nn.Module:
    config = ModelConfig.model_validate({"name": str(path), "pooling": pooling})
    return models.load_classifier(config, num_labels=2, seed=1)


def adapted(method: str, path: Path, pooling: str = "mean", *, seed: int = 7) -> methods.AdaptedModel:
    table = PeftTable(method=method, virtual_tokens=3, rank=3, bottleneck=3)
    model, spec = methods.wrap(base_of(path, pooling), table, public_name="org/public", seed=seed)
    assert spec == methods.spec_of(model)
    return model.eval()


def randomise(model: nn.Module, seed: int = 0) -> AdapterState:
    rng = np.random.default_rng(seed)
    values = methods.read_state(model).values
    state = AdapterState({name: 0.5 * rng.standard_normal(value.shape) for name, value in values.items()})
    methods.write_state(model, state)
    return state


def logits_of(model: nn.Module) -> torch.Tensor:
    with torch.no_grad():
        logits: torch.Tensor = model(input_ids=IDS, attention_mask=MASK).logits
    return logits


@pytest.mark.filterwarnings("ignore:Specified to not")  # PEFT's own loader, below
@pytest.mark.parametrize(("method", "architecture", "pooling"), FITTING)
def test_saved_and_loaded_it_predicts_the_same(
    method: str, architecture: str, pooling: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    path: Path = request.getfixturevalue(architecture)
    model = adapted(method, path, pooling)
    state = randomise(model)
    assert methods.read_state(model).digest() == state.digest()
    methods.save_adapter(model, state, tmp_path)
    loaded = methods.load_adapter(base_of(path, pooling), tmp_path).eval()
    assert torch.allclose(logits_of(loaded), logits_of(model), atol=1e-6)
    assert methods.read_state(loaded).digest() == state.digest()
    text = (tmp_path / "adapter_config.json").read_text()
    assert "org/public" in text
    assert str(path) not in text
    if OWN_METHOD not in text:  # PEFT has the method, so that it needs nothing of ours
        theirs = PeftModel.from_pretrained(base_of(path, pooling), str(tmp_path)).eval()
        assert torch.allclose(logits_of(theirs), logits_of(model), atol=1e-6)


@pytest.mark.parametrize(("method", "architecture", "pooling"), FITTING)
def test_the_adapter_is_all_that_trains_and_each_tensor_of_it_matters(
    method: str, architecture: str, pooling: str, request: pytest.FixtureRequest
) -> None:
    model = adapted(method, request.getfixturevalue(architecture), pooling)
    state, spec = randomise(model), methods.spec_of(model)
    trainable = {methods.public_name(name) for name, value in model.named_parameters() if value.requires_grad}
    assert trainable == set(spec.names)
    assert {entry.role for entry in spec.entries} - {Role.BODY} == {Role.HEAD} | FACTORS.get(method, set())
    assert bool(spec.modules) == (method in FACTORS)
    before = logits_of(model)
    for entry in spec.entries:
        # The softmax over keys does not notice what is added to all of them.
        if entry.name.endswith(("key.bias", "k_lin.bias")):
            continue
        if entry.name.endswith(UNUSED):
            continue
        methods.write_state(model, state.replace({entry.name: state[entry.name] + 0.5 * _step(entry.shape)}))
        assert not torch.equal(logits_of(model), before), entry.name
        methods.write_state(model, state)


def _step(shape: tuple[int, ...]) -> np.ndarray:
    """Different everywhere: layer norms and softmaxes do not notice a shift of all values."""
    return np.random.default_rng(1).standard_normal(shape)


@pytest.mark.parametrize("method", ["bitfit", "prompt", "prefix"])
def test_the_start_follows_the_seed_and_leaves_the_global_generator_alone(method: str, tiny_bert: Path) -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    one, two, other = (methods.read_state(adapted(method, tiny_bert, seed=seed)).digest() for seed in (7, 7, 8))
    assert torch.equal(torch.rand(1), expected)
    assert one == two
    assert (one != other) == (method != "bitfit")


def test_bitfit_starts_as_the_pre_trained_model(tiny_model_path: Path) -> None:
    base = base_of(tiny_model_path)
    before = logits_of(base)
    assert torch.equal(logits_of(adapted("bitfit", tiny_model_path)), before)


@pytest.fixture(params=["tiny_bert", "tiny_distilbert"])
def tiny_model_path(request: pytest.FixtureRequest) -> Path:
    path: Path = request.getfixturevalue(request.param)
    return path


def test_bitfit_trains_every_bias_and_the_head_only(tiny_bert: Path) -> None:
    spec = methods.spec_of(adapted("bitfit", tiny_bert))
    assert all(entry.name.endswith(".bias") for entry in spec.entries if entry.role is Role.BODY)
    assert len(spec.only((Role.BODY,)).entries) == 1 + 2 * 8  # embeddings' norm; q, k, v, out, norm, in, out, norm
    assert [entry.name for entry in spec.only((Role.HEAD,)).entries] == [
        "base_model.classifier.bias",
        "base_model.classifier.weight",
    ]


@pytest.mark.parametrize("method", ["prompt", "prefix"])
def test_virtual_tokens_have_pefts_name_and_size(method: str, tiny_bert: Path) -> None:
    (entry,) = methods.spec_of(adapted(method, tiny_bert)).only((Role.BODY,)).entries
    assert entry.name == "prompt_embeddings"
    assert entry.shape == ((3, 32) if method == "prompt" else (3, 2 * 2 * 32))


def test_each_example_has_virtual_tokens_of_its_own(tiny_bert: Path) -> None:
    """PEFT looks them up once and repeats them, so that one row of gradients stands for the whole batch."""
    model = adapted("prompt", tiny_bert)
    looked_up: list[tuple[int, ...]] = []
    embedding = model.prompt_encoder["default"].embedding
    embedding.register_forward_hook(lambda _layer, inputs, _output: looked_up.append(tuple(inputs[0].shape)))
    ours = logits_of(model)
    assert looked_up == [(2, 3)]
    theirs = super(type(model), model).get_prompt(2)
    assert looked_up[-1] == (1, 3), "PEFT mended it: the class of our own can go"
    assert torch.equal(theirs, model.get_prompt(2))
    assert ours.shape == (2, 2)


@pytest.mark.parametrize(
    ("method", "architecture", "pooling", "message"),
    [
        ("bitfit", "tiny_t5", "mean", "t5 models have no biases"),
        ("prompt", "tiny_t5", "model", "needs words"),
    ],
)
def test_what_does_not_fit_says_so(
    method: str, architecture: str, pooling: str, message: str, request: pytest.FixtureRequest
) -> None:
    with pytest.raises(ModelError, match=f"^peft.method: .*{message}.*; use"):
        adapted(method, request.getfixturevalue(architecture), pooling)


def test_an_adapter_of_another_model_is_refused(tiny_bert: Path, tiny_distilbert: Path, tmp_path: Path) -> None:
    model = adapted("bitfit", tiny_bert)
    methods.save_adapter(model, methods.read_state(model), tmp_path)
    assert OWN_METHOD in (tmp_path / "adapter_config.json").read_text()
    with pytest.raises(ModelError, match="no adapter of this model"):
        methods.load_adapter(base_of(tiny_distilbert), tmp_path)


@pytest.mark.parametrize("method", sorted(methods.METHODS))
def test_full_fine_tuning_would_send_the_model_without_the_adapter(method: str, tiny_distilbert: Path) -> None:
    whole = sum(parameter.numel() for parameter in base_of(tiny_distilbert).parameters())
    assert methods.base_values(adapted(method, tiny_distilbert)) == whole


def test_peft_reads_what_it_has_and_nothing_else(tiny_bert: Path, tiny_distilbert: Path, tmp_path: Path) -> None:
    files = {}
    for method, path in (("bitfit", tiny_bert), ("prefix", tiny_bert), ("prefix", tiny_distilbert)):
        model = adapted(method, path)
        methods.save_adapter(model, methods.read_state(model), tmp_path)
        files[method, path] = OWN_METHOD in (tmp_path / "adapter_config.json").read_text()
    assert list(files.values()) == [True, False, True]
