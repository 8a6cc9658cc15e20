"""Models that answer in words, against transformers' own losses, one class and one text at a time."""

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM, T5ForConditionalGeneration

from dp.oracle import largest_deviation, per_example_gradients
from fedpeft_secure import methods, models
from fedpeft_secure.clients.backbone import load_backbone
from fedpeft_secure.clients.batches import split_batch
from fedpeft_secure.config import ModelConfig, PeftTable
from fedpeft_secure.config_file import parse_config
from fedpeft_secure.errors import ConfigError, ModelError
from fedpeft_secure.label_words import answers_of, label_words

CLASSES = ("good", "very bad indeed", "so so")
TEXTS = ("The soup was great.", "It was snowing on Monday, and the soup was cold.", "No")
KINDS = ("tiny_t5_whole", "tiny_llama")
TASKS = {"tiny_t5_whole": "seq2seq", "tiny_llama": "causal"}


def config_of(path: Path, kind: str, **more: object) -> ModelConfig:
    return ModelConfig.model_validate({"name": str(path), "task": TASKS[kind], **more})


def load(path: Path, kind: str, **more: object) -> Any:
    return models.load_classifier(config_of(path, kind, **more), num_labels=3, seed=1, classes=CLASSES)


def batch_of(path: Path, *, side: str = "right", texts: tuple[str, ...] = TEXTS) -> dict[str, torch.Tensor]:
    tokenizer = models.load_tokenizer(ModelConfig(name=str(path)))
    tokenizer.padding_side = side
    encoded = tokenizer(list(texts), padding=True)
    return {name: torch.tensor(encoded[name]) for name in ("input_ids", "attention_mask")}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def path(kind: str, request: pytest.FixtureRequest) -> Path:
    found: Path = request.getfixturevalue(kind)
    return found


def test_scores_of_t5_are_the_losses_of_transformers(tiny_t5_whole: Path) -> None:
    scores = load(tiny_t5_whole, "tiny_t5_whole")(**batch_of(tiny_t5_whole)).logits.detach()
    theirs = T5ForConditionalGeneration.from_pretrained(tiny_t5_whole).eval().requires_grad_(False)
    tokenizer = models.load_tokenizer(ModelConfig(name=str(tiny_t5_whole)))
    for i, c in itertools.product(range(3), range(3)):
        answer = torch.tensor([tokenizer(CLASSES[c])["input_ids"]])
        assert answer[0, -1] == tokenizer.eos_token_id
        loss = theirs(**batch_of(tiny_t5_whole, texts=(TEXTS[i],)), labels=answer).loss
        assert float(-scores[i, c]) == pytest.approx(float(loss) * answer.shape[1], rel=1e-4)


def test_scores_of_a_decoder_are_the_losses_of_transformers(tiny_llama: Path) -> None:
    scores = load(tiny_llama, "tiny_llama")(**batch_of(tiny_llama)).logits.detach()
    theirs = AutoModelForCausalLM.from_pretrained(tiny_llama).eval().requires_grad_(False)
    tokenizer = models.load_tokenizer(ModelConfig(name=str(tiny_llama)))
    for i, c in itertools.product(range(3), range(3)):
        text = tokenizer(TEXTS[i])["input_ids"] + tokenizer("\nLabel:")["input_ids"]
        answer = [*tokenizer(" " + CLASSES[c])["input_ids"], tokenizer.eos_token_id]
        ids = torch.tensor([text + answer])
        labels = torch.tensor([[-100] * len(text) + answer])
        assert float(-scores[i, c]) == pytest.approx(
            float(theirs(input_ids=ids, labels=labels).loss) * len(answer), rel=1e-4
        )


def test_padding_on_either_side_changes_no_score(kind: str, path: Path) -> None:
    model = load(path, kind)
    right, left = (model(**batch_of(path, side=side)).logits for side in ("right", "left"))
    assert torch.allclose(right, left, atol=1e-4)
    for index, text in enumerate(TEXTS):
        alone = model(**batch_of(path, texts=(text,))).logits[0]
        assert torch.allclose(right[index], alone, atol=1e-4)
    more = {name: nn.functional.pad(value, (0, 7)) for name, value in batch_of(path).items()}
    assert torch.allclose(model(**more).logits, right, atol=1e-4)


def test_an_end_of_text_inside_the_text_is_a_word_not_padding(tiny_llama: Path) -> None:
    """The decoder's padding token is its end of text: only the mask tells them apart."""
    model, batch = load(tiny_llama, "tiny_llama"), batch_of(tiny_llama, texts=("so cold",))
    end = torch.full((1, 1), model.config.eos_token_id)
    ids = torch.cat([batch["input_ids"], end], dim=1)
    seen = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
    unseen = model(input_ids=ids, attention_mask=nn.functional.pad(batch["attention_mask"], (0, 1))).logits
    assert torch.allclose(unseen, model(**batch).logits, atol=1e-4)
    assert not torch.allclose(seen, unseen, atol=1e-4)


def test_an_empty_text_has_scores(tiny_llama: Path) -> None:
    model = load(tiny_llama, "tiny_llama")
    nothing = torch.zeros((2, 0), dtype=torch.long)
    scores = model(input_ids=nothing, attention_mask=nothing).logits
    assert torch.isfinite(scores).all()
    masked = model(input_ids=torch.full((1, 3), 7), attention_mask=torch.zeros((1, 3), dtype=torch.long)).logits
    assert torch.allclose(scores[:1], masked, atol=1e-4)


def test_labels_ask_for_one_class_of_each(kind: str, path: Path) -> None:
    model, batch = load(path, kind), batch_of(path)
    labels = torch.tensor([2, 0, 1])
    every, one = model(**batch).logits, model(**batch, labels=labels).logits
    assert one.shape == (3, 1)
    assert torch.allclose(one[:, 0], every[torch.arange(3), labels], atol=1e-4)


def test_probabilities_of_all_answers_sum_to_less_than_one(kind: str, path: Path) -> None:
    """Answers end with the end of text, so that they exclude each other."""
    assert (load(path, kind)(**batch_of(path)).logits.exp().sum(dim=1) < 1).all()


def test_other_words_for_a_class(kind: str, path: Path) -> None:
    renamed = load(path, kind, label_words={"good": "cold soup"})(**batch_of(path)).logits
    before = load(path, kind)(**batch_of(path)).logits
    assert torch.allclose(renamed[:, 1:], before[:, 1:], atol=1e-5)
    assert not torch.allclose(renamed[:, 0], before[:, 0])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"best": "x"}, r"^model.label_words: there is no class 'best'; there are good, very bad indeed, so so"),
        ({"good": "so so"}, r"^model.label_words: this model cannot tell the words for 'so so' from those for 'good'"),
        ({"good": " "}, r"^model.label_words: this model cannot tell the words for 'good' from those for 'nothing'"),
    ],
)
def test_words_that_cannot_be_used(words: dict[str, str], message: str, tiny_t5_whole: Path) -> None:
    with pytest.raises(ModelError, match=message):
        load(tiny_t5_whole, "tiny_t5_whole", label_words=words)


def test_a_tokenizer_without_an_end(tiny_t5_whole: Path) -> None:
    tokenizer = models.load_tokenizer(ModelConfig(name=str(tiny_t5_whole)))
    tokenizer.eos_token = None
    with pytest.raises(ModelError, match=r"^model.task: this tokenizer has no end-of-text token"):
        label_words(tokenizer, CLASSES, words={}, cue="")


def test_a_decoder_needs_a_cue(tiny_llama: Path) -> None:
    with pytest.raises(ModelError, match=r"^model.cue: a decoder needs some words before its answer"):
        load(tiny_llama, "tiny_llama", cue="")


def test_a_mask_is_needed(kind: str, path: Path) -> None:
    with pytest.raises(ModelError, match="needs the attention_mask"):
        load(path, kind)(input_ids=torch.ones((1, 3), dtype=torch.long))


@pytest.mark.parametrize(
    ("architecture", "task", "message"),
    [
        ("tiny_bert", "seq2seq", "a bert model cannot do 'seq2seq' here; use \"classification\""),
        ("tiny_bert", "causal", "a bert model cannot do 'causal' here"),
        ("tiny_llama", "classification", "a llama model cannot do 'classification' here; use \"causal\""),
        ("tiny_t5", "seq2seq", "'tiny-t5' has no weights for .*decoder.*; use \"classification\""),
    ],
)
def test_a_task_that_does_not_fit(architecture: str, task: str, message: str, request: pytest.FixtureRequest) -> None:
    path = request.getfixturevalue(architecture)
    with pytest.raises(ModelError, match=f"^model.task: {message}"):
        models.load_classifier(ModelConfig(name=str(path), task=task), num_labels=3, seed=1, classes=CLASSES)  # type: ignore[arg-type]


def test_auto_answers_in_words_with_decoders_only(tiny_llama: Path, tiny_t5_whole: Path) -> None:
    for path, expected in ((tiny_llama, "words"), (tiny_t5_whole, "classes")):
        model = models.load_classifier(ModelConfig(name=str(path)), num_labels=3, seed=1, classes=CLASSES)
        assert answers_of(model) == expected


def test_cue_and_answer_take_positions(tiny_llama: Path, tiny_config: Any) -> None:
    settings = {"model.name": str(tiny_llama), "model.cue": "\nLabel:"}
    tokenizer = models.load_tokenizer(ModelConfig(name=str(tiny_llama)))
    added = (
        len(tokenizer("\nLabel:")["input_ids"]) + max(len(tokenizer(f" {name}")["input_ids"]) for name in CLASSES) + 1
    )
    load_backbone(tiny_config(settings | {"model.max_length": 64 - added}), num_labels=3, classes=CLASSES)
    with pytest.raises(
        ConfigError, match=rf"^model.max_length: .*, and {added} of cue and answer, exceed this model's 64"
    ):
        load_backbone(tiny_config(settings | {"model.max_length": 65 - added}), num_labels=3, classes=CLASSES)


METHODS = ("lora", "dora", "vera", "adalora", "ia3", "adapter", "prompt")


@pytest.mark.parametrize(
    ("kind", "method"),
    [*itertools.product(KINDS, METHODS), ("tiny_t5_whole", "prefix"), *itertools.product(KINDS, ["full"])],
)
def test_every_examples_gradient_is_the_oracles(method: str, kind: str, path: Path, tiny_config: Any) -> None:
    settings = {"model.name": str(path), "model.task": TASKS[kind], "peft.method": method, "peft.rank": 3}
    backbone, _ = load_backbone(tiny_config(settings), num_labels=3, classes=CLASSES)
    assert backbone.per_example.strategy.name == ("microbatches" if method == "full" else "hooks")
    assert backbone.answers == "words"
    if method == "full":
        return
    from fedpeft_secure.persample import public_batch

    batch = public_batch(backbone.model, length=9)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for value in backbone.per_example.trainable().values():
            value.add_(0.1 * torch.randn(value.shape, generator=generator))
    truth = per_example_gradients(backbone.model, batch, backbone.losses, split=split_batch)
    _, found = backbone.per_example.strategy.gradients(backbone.model, batch, backbone.losses)  # type: ignore[attr-defined]
    assert largest_deviation({name: g.rows() for name, g in found.items()}, truth) < 1e-4
    losses = backbone.losses(backbone.model, batch)
    every = backbone.logits(backbone.model, batch)
    assert torch.allclose(losses, -every[torch.arange(3), batch.labels], atol=1e-4)


def test_in_half_precision_the_losses_are_nearly_the_same(kind: str, path: Path, tiny_config: Any) -> None:
    from fedpeft_secure.persample import public_batch

    found = []
    for precision in ("fp32", "bf16"):
        settings = {"model.name": str(path), "model.task": TASKS[kind], "training.precision": precision}
        backbone, _ = load_backbone(tiny_config(settings), num_labels=3, classes=CLASSES)
        found.append(backbone.losses(backbone.model, public_batch(backbone.model, length=9)).detach())
    assert found[1].dtype == torch.float32
    assert torch.allclose(found[0], found[1], rtol=0.02)
    assert not torch.equal(found[0], found[1])


@pytest.mark.parametrize("method", METHODS)
def test_saved_and_loaded_it_predicts_the_same(method: str, kind: str, path: Path, tmp_path: Path) -> None:
    base = load(path, kind)
    table = PeftTable(method=method, rank=3, virtual_tokens=2)  # type: ignore[arg-type]
    model, _ = methods.wrap(base, table, public_name="x", seed=7)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for value in methods.named_trainable(model).values():
            value.add_(0.2 * torch.randn(value.shape, generator=generator))
    methods.save_adapter(model, methods.read_state(model), tmp_path)
    loaded = methods.load_adapter(load(path, kind), tmp_path).eval()
    with torch.no_grad():
        ours, theirs, start = (each(**batch_of(path)).logits for each in (model.eval(), loaded, load(path, kind)))
    assert torch.allclose(ours, theirs, atol=1e-5)
    assert not torch.allclose(ours, start, atol=1e-3)


@pytest.mark.parametrize(
    ("method", "kind", "message"),
    [
        ("head", "tiny_llama", "a model that answers in words has no head; use"),
        ("bitfit", "tiny_llama", "llama models have no biases for BitFit"),
        ("bitfit", "tiny_t5_whole", "t5 models have no biases for BitFit"),
        ("prefix", "tiny_llama", "no prefix for models of type llama is known here; use"),
    ],
)
def test_what_does_not_fit_says_so(method: str, kind: str, message: str, request: pytest.FixtureRequest) -> None:
    base = load(request.getfixturevalue(kind), kind)
    with pytest.raises(ModelError, match=f"^peft.method: {message}"):
        methods.wrap(base, PeftTable(method=method), public_name="x", seed=1)  # type: ignore[arg-type]


def test_the_top_layers_of_t5_are_the_decoders(tiny_t5_whole: Path) -> None:
    model, spec = methods.wrap(
        load(tiny_t5_whole, "tiny_t5_whole"), PeftTable(layers=1, rank=2), public_name="x", seed=1
    )
    assert all(".decoder.block.1." in name for name in spec.names)
    assert {name.split(".layer.")[1][0] for name in spec.names} == {"0", "1"}, "self-attention and cross-attention"
    assert methods.base_values(model) == sum(p.numel() for p in load(tiny_t5_whole, "tiny_t5_whole").parameters())


def test_the_configuration_takes_words() -> None:
    config = parse_config({"model": {"task": "causal", "label_words": {"1": "yes"}, "cue": " ->"}})
    assert (config.model.label_words, config.model.cue) == ({"1": "yes"}, " ->")
