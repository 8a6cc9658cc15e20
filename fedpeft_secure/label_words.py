"""Models that answer in words: a class's score is the likelihood of its words, read after the text.

No head is added and nothing is generated: the words of each class are a fixed target, so that scores are deterministic.
Every answer ends with the end-of-text token, so that no class's words are the beginning of
another's and likelihoods of answers of different lengths compare.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.modeling_outputs import BaseModelOutput, SequenceClassifierOutput

from fedpeft_secure.errors import ModelError


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelWords:
    """What stands for each class, as token ids.

    Args:
        answers: one list of ids a class, the end-of-text token last.
        cue: ids between the text and the answer; empty where a decoder of its own answers.
    """

    answers: tuple[tuple[int, ...], ...]
    cue: tuple[int, ...] = ()


def label_words(
    tokenizer: PreTrainedTokenizerBase, classes: Sequence[str], *, words: Mapping[str, str], cue: str
) -> LabelWords:
    """Tokenises the words of each class.

    Args:
        tokenizer: of the model.
        classes: names of the classes, in order.
        words: class → its words, where they are not its name.
        cue: written between the text and the answer; then answers are set off by a space, as in running text.

    Raises:
        ModelError: For words of a class that is not there, words that the tokenizer cannot tell apart, or a tokenizer
            without an end-of-text token.
    """
    unknown = sorted(set(words) - set(classes))
    if unknown:
        raise ModelError(f"model.label_words: there is no class {unknown[0]!r}; there are {', '.join(classes)}")
    end = tokenizer.eos_token_id
    if end is None:
        raise ModelError('model.task: this tokenizer has no end-of-text token; use "classification"')
    space = " " if cue else ""
    answers: list[tuple[int, ...]] = []
    for name in classes:
        ids = (*_ids(tokenizer, space + words.get(name, name).strip()), end)
        if ids in answers or len(ids) == 1:
            other = classes[answers.index(ids)] if ids in answers else "nothing"
            raise ModelError(
                f"model.label_words: this model cannot tell the words for {name!r} from those for {other!r}; "
                "choose others"
            )
        answers.append(ids)
    return LabelWords(answers=tuple(answers), cue=_ids(tokenizer, cue) if cue else ())


class WordAnswers(nn.Module):
    """What both kinds of models share: the answers of all classes, and how their likelihood is read.

    Args:
        language_model: pre-trained, with a head over its vocabulary.
        words: what it may answer.
    """

    answers: Tensor
    real: Tensor

    def __init__(self, language_model: PreTrainedModel, words: LabelWords) -> None:
        super().__init__()
        self.language_model = language_model
        self.config = language_model.config
        longest = max(len(answer) for answer in words.answers)
        padded = [(*answer, *[answer[-1]] * (longest - len(answer))) for answer in words.answers]
        lengths = torch.tensor([len(answer) for answer in words.answers])
        self.register_buffer("answers", torch.tensor(padded), persistent=False)
        self.register_buffer("real", torch.arange(longest) < lengths[:, None], persistent=False)

    @property
    def device(self) -> torch.device:
        """Where the model computes; PEFT asks."""
        return self.answers.device

    def chosen(self, batch: int, labels: Tensor | None) -> tuple[Tensor, Tensor, int]:
        """The answers to score, which of their tokens are real, each (rows, words), and how many belong to an example.

        Args:
            batch: examples.
            labels: the one class of each to score, shape (batch,); None for all classes.
        """
        if labels is not None:
            return self.answers[labels], self.real[labels], 1
        return self.answers.repeat(batch, 1), self.real.repeat(batch, 1), len(self.answers)


class Seq2SeqAnswers(WordAnswers):
    """T5: the encoder reads the text, the decoder is asked for each class's words."""

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        *,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> SequenceClassifierOutput:
        """Log-likelihoods of the answers.

        Args:
            input_ids: shape (batch, length).
            attention_mask: shape (batch, length), 1 for real tokens, padded on either side.
            inputs_embeds: in place of `input_ids`, shape (batch, length, width).
            labels: score this class only, shape (batch,): what training needs.
            output_attentions, output_hidden_states, return_dict: as PEFT passes them; not used.

        Returns:
            Output with `.logits` of shape (batch, classes), or (batch, 1) with `labels`.
        """
        del output_attentions, output_hidden_states, return_dict
        attention_mask = _required(attention_mask)
        given = {"input_ids": input_ids} if inputs_embeds is None else {"inputs_embeds": inputs_embeds}
        model: Any = self.language_model
        hidden = model.get_encoder()(attention_mask=attention_mask, **given).last_hidden_state
        answers, real, each = self.chosen(len(hidden), labels)
        start = torch.full_like(answers[:, :1], self.config.decoder_start_token_id)
        said = model(
            encoder_outputs=BaseModelOutput(last_hidden_state=hidden.repeat_interleave(each, dim=0)),
            attention_mask=_repeated(attention_mask, each),
            decoder_input_ids=torch.cat([start, answers[:, :-1]], dim=1),
            use_cache=False,
        ).logits
        return SequenceClassifierOutput(logits=_likelihoods(said, answers, real).view(-1, each))


class CausalAnswers(WordAnswers):
    """A decoder: text, cue and answer are one sequence, of which the answer is scored.

    Positions count real tokens only, so that padding changes nothing on whichever side it is.
    """

    cue: Tensor

    def __init__(self, language_model: PreTrainedModel, words: LabelWords) -> None:
        super().__init__(language_model, words)
        if not words.cue:
            raise ModelError("model.cue: a decoder needs some words before its answer; write a few")
        self.register_buffer("cue", torch.tensor(words.cue), persistent=False)

    @property
    def added_tokens(self) -> int:
        """Positions that cue and answer take."""
        return len(self.cue) + self.answers.shape[1]

    @property
    def tails(self) -> tuple[tuple[int, ...], ...]:
        """For each class the cue and its answer, without the last token, behind which nothing is foretold."""
        cue = tuple(self.cue.tolist())
        answers = zip(self.answers.tolist(), self.real.sum(dim=1).tolist(), strict=True)
        return tuple((*cue, *answer[: length - 1]) for answer, length in answers)

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        *,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> SequenceClassifierOutput:
        """Log-likelihoods of the answers; arguments and output as those of `Seq2SeqAnswers`."""
        del output_attentions, output_hidden_states, return_dict
        attention_mask = _required(attention_mask)
        model: Any = self.language_model
        embed = model.get_input_embeddings()
        text = embed(input_ids) if inputs_embeds is None else inputs_embeds
        answers, real, each = self.chosen(len(text), labels)
        text, lengths = _padded_behind(text, attention_mask)
        text, lengths = _repeated(text, each), _repeated(lengths, each)
        tail = torch.cat([self.cue.expand(len(answers), -1), answers], dim=1)
        places = lengths[:, None] + torch.arange(tail.shape[1], device=tail.device)
        room = nn.functional.pad(text, (0, 0, 0, tail.shape[1]))
        whole = room.scatter(1, places[..., None].expand(-1, -1, text.shape[-1]), embed(tail).to(room.dtype))
        ends = lengths + len(self.cue) + real.sum(dim=1)
        mask = torch.arange(whole.shape[1], device=ends.device) < ends[:, None]
        hidden = model.get_decoder()(inputs_embeds=whole, attention_mask=mask.long(), use_cache=False).last_hidden_state
        before = places[:, len(self.cue) - 1 : -1]  # a token is foretold where the one before it stands
        said = model.get_output_embeddings()(hidden.gather(1, before[..., None].expand(-1, -1, hidden.shape[-1])))
        return SequenceClassifierOutput(logits=_likelihoods(said, answers, real).view(-1, each))


def answers_of(model: nn.Module) -> Literal["classes", "words"]:
    """Whether `model`, adapted or not, has a head or answers in words."""
    return "words" if any(isinstance(module, WordAnswers) for module in model.modules()) else "classes"


def _ids(tokenizer: PreTrainedTokenizerBase, text: str) -> tuple[int, ...]:
    return tuple(tokenizer(text, add_special_tokens=False)["input_ids"])


def _required(attention_mask: Tensor | None) -> Tensor:
    if attention_mask is None:
        raise ModelError("a model that answers in words needs the attention_mask that its tokenizer gives")
    return attention_mask


def _repeated(rows: Tensor, each: int) -> Tensor:
    return rows.repeat_interleave(each, dim=0)


def _padded_behind(text: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """The rows (batch, length, width) with their real tokens first, and how many these are, shape (batch,)."""
    order = torch.argsort(1 - mask.long(), dim=1, stable=True)
    return text.gather(1, order[..., None].expand(-1, -1, text.shape[-1])), mask.long().sum(dim=1)


def _likelihoods(logits: Tensor, answers: Tensor, real: Tensor) -> Tensor:
    """Σ log p(token) over the real tokens of each answer in fp32, shape (rows,).

    Args:
        logits: shape (rows, words, vocabulary).
        answers, real: shape (rows, words).
    """
    log_probabilities = nn.functional.log_softmax(logits.float(), dim=-1)
    return (log_probabilities.gather(-1, answers[..., None])[..., 0] * real).sum(dim=1)
