import json
import shutil
import socket
from pathlib import Path

import huggingface_hub
import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from transformers import AutoModel, BertConfig, BertForSequenceClassification

from fedpeft_secure import models
from fedpeft_secure.config import Config, ModelConfig
from fedpeft_secure.errors import ModelError, RunDirectoryError

ARCHITECTURES = ("tiny_bert", "tiny_roberta", "tiny_distilbert", "tiny_t5")


@pytest.fixture(params=ARCHITECTURES)
def tiny_model(request: pytest.FixtureRequest) -> Path:
    path: Path = request.getfixturevalue(request.param)
    return path


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """No network, whatever the environment says of it; returns the attempts to reach it."""
    attempts: list[object] = []

    def refuse(*target: object, **_: object) -> None:
        attempts.append(target)
        raise socket.gaierror("the tests have no network")

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    return attempts


def load(path: Path | str, **options: object) -> nn.Module:
    config = ModelConfig.model_validate({"name": str(path), **options})
    return models.load_classifier(config, num_labels=3, seed=1)


def batch_of(path: Path) -> dict[str, torch.Tensor]:
    """Two texts of different length, the shorter one padded."""
    tokenizer = models.load_tokenizer(ModelConfig(name=str(path)))
    encoded = tokenizer(["The soup was great.", "It was snowing on Monday, and the soup was cold."], padding=True)
    return {name: torch.tensor(encoded[name]) for name in ("input_ids", "attention_mask")}


def give_a_head(model: nn.Module) -> nn.Module:
    """A zero head hides every mistake before it."""
    assert isinstance(model, models.MeanPooledClassifier)
    nn.init.normal_(model.classifier.weight, generator=torch.Generator().manual_seed(0))
    return model


def test_every_architecture_classifies(tiny_model: Path) -> None:
    logits = give_a_head(load(tiny_model))(**batch_of(tiny_model)).logits
    assert logits.shape == (2, 3)
    assert logits.dtype == torch.float32
    assert torch.isfinite(logits).all()


def test_a_new_head_says_nothing_yet(tiny_model: Path) -> None:
    assert not load(tiny_model)(**batch_of(tiny_model)).logits.any()


def test_padding_changes_no_score(tiny_model: Path) -> None:
    model, batch = give_a_head(load(tiny_model)).eval(), batch_of(tiny_model)
    length = int(batch["attention_mask"][0].sum())
    assert length < batch["input_ids"].shape[1], "the first text is padded"
    with torch.no_grad():
        padded = model(**batch).logits[0]
        alone = model(**{name: value[:1, :length] for name, value in batch.items()}).logits[0]
        more = {name: nn.functional.pad(value[:1], (0, 7), value=0) for name, value in batch.items()}
        even_more = model(**more).logits[0]
    assert torch.allclose(padded, alone, atol=1e-5)
    assert torch.allclose(even_more, alone, atol=1e-5)


def test_the_mean_is_over_the_real_tokens(tiny_bert: Path) -> None:
    model, batch = give_a_head(load(tiny_bert)).eval(), batch_of(tiny_bert)
    with torch.no_grad():
        hidden = AutoModel.from_pretrained(tiny_bert).eval()(**batch).last_hidden_state
        length = int(batch["attention_mask"][0].sum())
        expected = model.classifier(hidden[0, :length].mean(dim=0))  # type: ignore[operator, union-attr]
        assert torch.allclose(model(**batch).logits[0], expected, atol=1e-5)


@pytest.mark.parametrize("pooling", ["mean", "model"])
def test_dropout_is_off(pooling: str, tiny_model: Path) -> None:
    model = load(tiny_model, pooling=pooling)
    assert not any(module.training for module in model.modules())
    batch = batch_of(tiny_model)
    assert torch.equal(model(**batch).logits, model(**batch).logits)


@pytest.mark.parametrize("architecture", ["tiny_bert", "tiny_roberta", "tiny_distilbert"])
def test_the_models_own_head(architecture: str, request: pytest.FixtureRequest) -> None:
    path = request.getfixturevalue(architecture)
    one, two = load(path, pooling="model"), load(path, pooling="model")
    batch = batch_of(path)
    with torch.no_grad():
        logits = one(**batch).logits
        assert logits.shape == (2, 3)
        assert torch.equal(logits, two(**batch).logits), "a new head is a function of its seed"
        other = models.load_classifier(ModelConfig(name=str(path), pooling="model"), num_labels=3, seed=2)
        assert not torch.equal(logits, other(**batch).logits)


def test_loading_leaves_the_global_generator_alone(tiny_bert: Path) -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    load(tiny_bert, pooling="model")
    assert torch.equal(torch.rand(1), expected)


def test_weights_are_the_folders(tiny_bert: Path) -> None:
    stored = load_file(tiny_bert / "model.safetensors")
    loaded = load(tiny_bert).state_dict()
    name = "encoder.layer.1.attention.self.query.weight"
    assert torch.equal(loaded[f"backbone.{name}"], stored[name])


def test_weights_in_half_precision_are_loaded_in_fp32(tiny_bert: Path, tmp_path: Path) -> None:
    AutoModel.from_pretrained(tiny_bert).half().save_pretrained(tmp_path / "half")
    assert {parameter.dtype for parameter in load(tmp_path / "half").parameters()} == {torch.float32}


def test_an_alias_is_the_packaged_model_under_its_public_name() -> None:
    source = models.find_model("minilm")
    assert source.public_name == "sentence-transformers/all-MiniLM-L6-v2"
    assert (Path(source.location) / "model.safetensors").is_file()


def test_a_gguf_file_is_found_by_its_path(tmp_path: Path) -> None:
    (tmp_path / "small.gguf").touch()
    source = models.find_model(str(tmp_path / "small.gguf"))
    assert source == models.ModelSource(location=str(tmp_path), public_name="small.gguf", gguf_file="small.gguf")
    assert source.format == {"gguf_file": "small.gguf"}
    (tmp_path / "small.bin").touch()
    with pytest.raises(ModelError, match=r"^model.name: there is no folder"):
        models.find_model(str(tmp_path / "small.bin"))


def test_a_broken_gguf_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "broken.gguf").write_bytes(b"GGUF, or not")
    with pytest.raises(
        ModelError, match=r"^model.name: cannot load 'broken.gguf' \(.*\); use a whole GGUF file"
    ) as caught:
        load(tmp_path / "broken.gguf")
    assert "\n" not in str(caught.value)


def test_an_alias_without_its_package_is_the_hubs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(models.ALIASES, "minilm", ("no_such_package", "model", "org/model"))
    assert models.find_model("minilm") == models.ModelSource(location="org/model", public_name="org/model")


def test_a_local_path_is_not_written_down(tiny_bert: Path) -> None:
    source = models.find_model(str(tiny_bert))
    assert source.location == str(tiny_bert)
    assert source.public_name == "tiny-bert"


@pytest.mark.parametrize("name", ["./nowhere", "/no/where", "~/no/where"])
def test_a_missing_folder(name: str) -> None:
    with pytest.raises(ModelError, match=r"model.name: there is no folder '.*'; give an existing path, a hub id or"):
        models.find_model(name)


@pytest.mark.parametrize("pooling", ["mean", "model"])
def test_a_hub_model_without_a_network_is_one_line(pooling: str, offline: list[object]) -> None:
    with pytest.raises(ModelError) as caught:
        load("some-org/some-model-that-is-not-cached", pooling=pooling)
    message = str(caught.value)
    assert message.startswith("model.name: cannot load 'some-org/some-model-that-is-not-cached' (")
    assert "go online once" in message
    assert len(offline) <= 2, "without long retries"
    assert "\n" not in message


@pytest.mark.usefixtures("offline")
def test_a_tokenizer_without_a_network_is_one_line() -> None:
    with pytest.raises(ModelError, match=r"^model.name: cannot load 'some-org/no-tokenizer'"):
        models.load_tokenizer(ModelConfig(name="some-org/no-tokenizer"))


def test_pickled_weights_are_refused(tiny_bert: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pickled"
    shutil.copytree(tiny_bert, folder)
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"cannot load 'pickled' .* use a local folder with safetensors weights"):
        load(folder)


def test_broken_weights_are_one_line(tiny_bert: Path, tmp_path: Path) -> None:
    folder = tmp_path / "broken"
    shutil.copytree(tiny_bert, folder)
    (folder / "model.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0not a header")
    with pytest.raises(ModelError, match=r"^model.name: cannot load 'broken' \(.*\)"):
        load(folder)


@pytest.mark.parametrize("pooling", ["mean", "model"])
def test_remote_code_is_never_run(pooling: str, tiny_bert: Path, tmp_path: Path) -> None:
    folder = tmp_path / "remote"
    shutil.copytree(tiny_bert, folder)
    marker = tmp_path / "executed"
    (folder / "evil.py").write_text(
        f"import pathlib\npathlib.Path({str(marker)!r}).touch()\n"
        "from transformers import BertConfig as EvilConfig, BertModel as EvilModel\n"
    )
    config = json.loads((folder / "config.json").read_text())
    config |= {
        "model_type": "evil",
        "auto_map": {"AutoConfig": "evil.EvilConfig", "AutoModel": "evil.EvilModel"},
    }
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="cannot load 'remote'"):
        load(folder, pooling=pooling)
    assert not marker.exists()


def test_a_trained_classifiers_own_head_is_kept(tiny_bert: Path, tmp_path: Path) -> None:
    config = BertConfig.from_pretrained(tiny_bert, num_labels=3)
    trained = BertForSequenceClassification(config)
    trained.save_pretrained(tmp_path / "trained")
    loaded = load(tmp_path / "trained", pooling="model")
    assert torch.equal(loaded.state_dict()["classifier.weight"], trained.state_dict()["classifier.weight"])


def test_a_trained_head_of_another_size_is_one_line(tiny_bert: Path, tmp_path: Path) -> None:
    BertForSequenceClassification(BertConfig.from_pretrained(tiny_bert, num_labels=5)).save_pretrained(
        tmp_path / "five"
    )
    with pytest.raises(ModelError, match=r"^model.name: cannot load 'five'"):
        load(tmp_path / "five", pooling="model")


def test_the_base_of_an_unfinished_run(tmp_path: Path) -> None:
    with pytest.raises(RunDirectoryError, match="no run directory"):
        models.load_base(tmp_path)


def test_the_heads_seed_is_public_and_follows_the_runs() -> None:
    seeds = {models.head_seed(Config(seed=seed)) for seed in range(5)}
    assert len(seeds) == 5
    assert models.head_seed(Config(seed=1)) == models.head_seed(Config(seed=1, data={"name": "synthetic"}))


def test_verbosity_is_put_back(tiny_bert: Path) -> None:
    before = models.transformers_logging.get_verbosity()
    load(tiny_bert)
    assert models.transformers_logging.get_verbosity() == before
