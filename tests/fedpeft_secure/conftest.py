"""Tiny models with real tokenizers, and a configuration that trains one of them in seconds; all made on the fly."""

import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import settings
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    BertConfig,
    BertModel,
    DistilBertConfig,
    DistilBertModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaModel,
    T5Config,
    T5EncoderModel,
    T5ForConditionalGeneration,
)

import dp
from fedpeft_secure import Config
from fedpeft_secure.config_file import parse_config
from fedpeft_secure.data.grammar import load_grammar
from fedpeft_secure.events import ignore
from fedpeft_secure.plans import RoundPlan
from fedpeft_secure.server.federation import Federation, build_federation

MakeConfig = Callable[..., Config]
MakePlan = Callable[..., RoundPlan]
MakeFederation = Callable[..., Federation]

# A busy machine is slow, not wrong.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")

VOCABULARY = 600
SIZE = {"num_hidden_layers": 2, "num_attention_heads": 2, "hidden_size": 32, "intermediate_size": 48}
BERT_MARKS = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
ROBERTA_MARKS = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
T5_MARKS = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of two layers of width 32 with a WordPiece tokenizer."""
    config = BertConfig(vocab_size=VOCABULARY, max_position_embeddings=64, **SIZE)
    return _save(tmp_path_factory.mktemp("models") / "tiny-bert", lambda: BertModel(config), word_pieces())


@pytest.fixture(scope="session")
def tiny_distilbert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A DistilBERT of two layers of width 32 with a WordPiece tokenizer."""
    config = DistilBertConfig(
        vocab_size=VOCABULARY, max_position_embeddings=64, n_layers=2, n_heads=2, dim=32, hidden_dim=48
    )
    return _save(tmp_path_factory.mktemp("models") / "tiny-distilbert", lambda: DistilBertModel(config), word_pieces())


@pytest.fixture(scope="session")
def tiny_roberta(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A RoBERTa of two layers of width 32 with a byte-level BPE tokenizer."""
    config = RobertaConfig(vocab_size=VOCABULARY, max_position_embeddings=66, type_vocab_size=1, **SIZE)
    return _save(tmp_path_factory.mktemp("models") / "tiny-roberta", lambda: RobertaModel(config), byte_pairs())


@pytest.fixture(scope="session")
def tiny_t5(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A T5 encoder of two layers of width 32 with a unigram tokenizer."""
    tokenizer = unigrams()
    config = T5Config(
        vocab_size=len(tokenizer),
        d_model=32,
        d_kv=16,
        d_ff=48,
        num_layers=2,
        num_heads=2,
        decoder_start_token_id=0,
    )
    return _save(tmp_path_factory.mktemp("models") / "tiny-t5", lambda: T5EncoderModel(config), tokenizer)


@pytest.fixture(scope="session")
def tiny_t5_whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A T5 of two layers of width 32 on either side, which answers in words."""
    tokenizer = unigrams()
    config = T5Config(
        vocab_size=len(tokenizer), d_model=32, d_kv=16, d_ff=48, num_layers=2, num_heads=2, decoder_start_token_id=0
    )
    folder = tmp_path_factory.mktemp("models") / "tiny-t5-whole"
    return _save(folder, lambda: T5ForConditionalGeneration(config), tokenizer)


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A decoder of two layers of width 32; it pads with its end-of-text token, as many do."""
    return _llama(tmp_path_factory.mktemp("models") / "tiny-llama", **SIZE)


@pytest.fixture(scope="session")
def deeper_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A decoder of four layers of width 64: some layers have others above and below."""
    size = {"num_hidden_layers": 4, "num_attention_heads": 2, "hidden_size": 64, "intermediate_size": 96}
    return _llama(tmp_path_factory.mktemp("models") / "deeper-llama", **size)


@pytest.fixture(scope="session")
def tiny_config(tiny_bert: Path) -> MakeConfig:
    """Makes a configuration of five clients and two rounds; `overrides` maps dotted keys to values.

    For example `tiny_config({"privacy.epsilon": "inf", "training.rounds": 3})`.
    """

    def make(overrides: Mapping[str, Any] | None = None) -> Config:
        tables: dict[str, Any] = {}
        for key, value in {**_tiny(tiny_bert), **(overrides or {})}.items():
            *parents, last = key.split(".")
            table = tables
            for parent in parents:
                table = table.setdefault(parent, {})
            table[last] = value
        return parse_config(tables)

    return make


@pytest.fixture(scope="session")
def make_plan() -> MakePlan:
    """Makes the plan of a masked, private round of five clients; keywords change fields."""
    plan = RoundPlan(
        run="run",
        round=1,
        attempt=0,
        cohort=tuple(f"client-{index}" for index in range(1, 6)),
        model_hash="00" * 32,
        strategy="fedit",
        local_steps=1,
        sample_rate=0.25,
        nominal_batch=10,
        optimizer="sgd",
        learning_rate=1.0,
        clip_norm=1.0,
        noise_multiplier=1.0,
        protocol="masked",
        malicious_server=True,
        min_cohort=3,
        adversarial_fraction=0.1,
        dropout_fraction=0.1,
        codec_clip=2.0,
        codec_bits=16,
        private=True,
    )
    return lambda **changes: RoundPlan.model_validate({**plan.model_dump(), **changes})


@pytest.fixture
def make_federation(tiny_config: MakeConfig, tmp_path: Path) -> Iterator[MakeFederation]:
    """Makes all parties of a tiny run, with a ledger of their own."""
    ledgers: list[dp.Ledger] = []

    def make(overrides: Mapping[str, Any] | None = None) -> Federation:
        path = tmp_path / f"ledger-{len(ledgers)}.sqlite"
        ledgers.append(dp.Ledger.open(path))
        config = tiny_config(overrides)
        return build_federation(config, run="run", ledger=ledgers[-1], ledger_path=path, listen=ignore)

    yield make
    for ledger in ledgers:
        ledger.close()


def _tiny(model: Path) -> dict[str, Any]:
    return {
        "model.name": str(model),
        "model.max_length": 32,
        "model.device": "cpu",
        "data.name": "synthetic",
        "data.validation_fraction": 0.1,
        "data.test_fraction": 0.1,
        "data.synthetic.examples": 250,
        "clients.count": 5,
        "clients.per_round": 5,
        "peft.rank": 2,
        "training.rounds": 2,
        "training.sample_rate": 0.25,
        "training.nominal_batch": 10,
        "training.physical_batch": 8,
        "training.precision": "fp32",
        "training.evaluate_every": 1,
        "privacy.accountant": "rdp",
    }


def _llama(folder: Path, **size: int) -> Path:
    tokenizer = byte_pairs(template=False)
    tokenizer.pad_token = tokenizer.eos_token
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        max_position_embeddings=64,
        num_key_value_heads=1,
        bos_token_id=0,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.eos_token_id,
        tie_word_embeddings=True,
        **size,
    )
    return _save(folder, lambda: LlamaForCausalLM(config), tokenizer)


def _save(folder: Path, build: Callable[[], PreTrainedModel], tokenizer: PreTrainedTokenizerFast) -> Path:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _texts() -> list[str]:
    rng = np.random.default_rng(0)
    return [load_grammar().write(label=row % 8, topic=row % 7, rng=rng) for row in range(300)]


def _pieces(count: int, normalizer: normalizers.Normalizer, splitter: pre_tokenizers.PreTokenizer) -> list[str]:
    """Frequent pieces of words: of the library's trainers only this one finds the same pieces in every process."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, splitter
    tokenizer.train_from_iterator(_texts(), trainers.BpeTrainer(vocab_size=count, show_progress=False))
    found = tokenizer.get_vocab()
    return sorted(found, key=lambda piece: found[piece])


def word_pieces() -> PreTrainedTokenizerFast:
    """BERT's kind: pieces at the start of a word, and the same behind another one."""
    marks = list(BERT_MARKS.values())
    normalizer, splitter = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    pieces = _pieces((VOCABULARY - len(marks)) // 2, normalizer, splitter)
    ids = {piece: index for index, piece in enumerate([*marks, *pieces, *(f"##{piece}" for piece in pieces)])}
    tokenizer = Tokenizer(models.WordPiece(ids, unk_token=BERT_MARKS["unk_token"]))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, splitter
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[(mark, ids[mark]) for mark in ("[CLS]", "[SEP]")]
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **BERT_MARKS)


def byte_pairs(*, template: bool = True) -> PreTrainedTokenizerFast:
    """RoBERTa's kind, or without a template LLaMA's: pieces of bytes, put together by rules in order."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(ROBERTA_MARKS.values()),  # in this order <pad> gets id 1, as RoBERTa has it
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_texts(), trainer)
    if template:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
        )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **ROBERTA_MARKS)


def unigrams() -> PreTrainedTokenizerFast:
    """T5's kind: the likeliest way to cut a text into pieces."""
    marks, splitter = list(T5_MARKS.values()), pre_tokenizers.Metaspace()
    pieces = _pieces(VOCABULARY - len(marks), normalizers.NFC(), splitter)
    words = " ".join(_texts()).replace(" ", "▁")
    scored = [(piece, math.log(max(words.count(piece), 1) / len(words))) for piece in pieces]
    tokenizer = Tokenizer(models.Unigram([*((mark, 0.0) for mark in marks), *scored], unk_id=2))
    tokenizer.pre_tokenizer = splitter
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **T5_MARKS)
