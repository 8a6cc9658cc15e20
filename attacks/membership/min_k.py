"""Min-K%: a text whose least likely words are not that unlikely was seen before. For models that foretell words."""

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from attacks.base import Floats, Granularity, View
from attacks.errors import NotApplicableError
from attacks.membership.loss import Apply
from attacks.membership.scoring import MembershipGuess
from attacks.membership.statistics import min_k_score
from fedpeft_secure.clients.backbone import Backbone
from fedpeft_secure.clients.batches import Examples
from fedpeft_secure.label_words import CausalAnswers, WordAnswers


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class MinKMembership:
    """Scores an example by its least likely words under the model that the view reveals.

    Of a decoder all words after the first count, text, cue and answer; of an encoder-decoder those of the answer, the
    only ones that it foretells. The attack knows the class of every candidate, as all membership attacks here do.

    Args:
        backbone: the public model; it must answer in words.
        candidates: the examples whose membership is asked.
        apply: the server's step, by which a message becomes a model.
        share: of the words that count, the least likely ones.
        needs: works on sums.
    Source: Shi et al. 2024, *Detecting Pretraining Data from Large Language Models*, section 3.
    """

    backbone: Backbone = field(repr=False)
    candidates: Examples = field(repr=False)
    apply: Apply = field(repr=False)
    share: float = 0.2
    needs: Granularity = Granularity.SUM

    def run(self, view: View, *, rng: np.random.Generator) -> MembershipGuess:
        """Evaluates the candidates one by one.

        Raises:
            NotApplicableError: If the model has a classification head, or virtual tokens around it.
        """
        del rng  # nothing is drawn
        model = _speaker(self.backbone)
        self.backbone.load(self.apply(view.before, view.observed))
        pairs = zip(self.candidates.token_ids, self.candidates.labels.tolist(), strict=True)
        return MembershipGuess(
            scores=np.array(
                [min_k_score(self._log_probabilities(model, ids, label), share=self.share) for ids, label in pairs]
            )
        )

    @torch.no_grad()
    def _log_probabilities(self, model: WordAnswers, ids: list[int], label: int) -> Floats:
        """Of each word that the model foretells, shape (words,)."""
        answer = model.answers[label][model.real[label]]
        text = torch.tensor(ids, device=answer.device)
        with self.backbone.autocast():
            if isinstance(model, CausalAnswers):
                whole = torch.cat([text, model.cue, answer])
                said, foretold = model.language_model(input_ids=whole[None]).logits[0, :-1], whole[1:]
            else:
                start = torch.full_like(answer[:1], model.config.decoder_start_token_id)
                given = torch.cat([start, answer[:-1]])
                said = model.language_model(input_ids=text[None], decoder_input_ids=given[None]).logits[0]
                foretold = answer
        return _chosen(said, foretold)


def _chosen(said: Tensor, words: Tensor) -> Floats:
    log_probabilities = torch.log_softmax(said.float(), dim=-1)
    return np.asarray(log_probabilities.gather(-1, words[:, None])[:, 0].cpu().numpy(), dtype=np.float64)


def _speaker(backbone: Backbone) -> WordAnswers:
    """The language model inside the adapted one."""
    found = next((module for module in backbone.model.modules() if isinstance(module, WordAnswers)), None)
    if found is None:
        raise NotApplicableError("Min-K% needs a model that foretells words; this one has a classification head")
    return found
