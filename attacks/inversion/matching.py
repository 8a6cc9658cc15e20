"""Optimisation baselines: word vectors whose gradient matches the observed one.

DLG (Zhu, Liu and Han 2019): ‖g − g*‖². TAG (Deng et al. 2021): ‖g − g*‖² + α ‖g − g*‖₁. LAMP (Balunović et al. 2022):
1 − cos(g, g*), a penalty on the vectors' mean length, and exchanges of two words where these match better under a prior
over words. LAMP's own prior is a large language model; here it is the frequency of words in public texts, which makes
it weaker than in the paper. The number of words and the label are given to all three, as in their papers.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import combinations
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from attacks.base import Floats, Granularity, View
from attacks.errors import NotApplicableError
from attacks.inversion.frames import SpecialTokens
from attacks.inversion.span import TextGuess
from fedpeft_secure import methods
from fedpeft_secure.adapters import unflatten
from fedpeft_secure.clients.backbone import Backbone

TAG_ALPHA, LAMP_LENGTH, LAMP_PRIOR = 0.01, 0.1, 0.01
"""Weights of TAG's second term, and of LAMP's two priors."""

SWAP_EVERY = 10
"""Steps between two rounds of LAMP's exchanges."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class MatchingInversion:
    """Fits one sentence to an update after one step of SGD.

    Args:
        backbone: the model that everybody has.
        words: how many words the sentence has, without special tokens.
        label: its class.
        objective: "dlg", "tag" or "lamp".
        special: the tokenizer's frame.
        log_prior: log-probability of each token in public texts, shape (V,).
        steps: of Adam; the papers take thousands.
        step_size: of Adam.
        needs: of a sum it makes one sentence.
    """

    backbone: Backbone = field(repr=False)
    words: int
    label: int
    objective: Literal["dlg", "tag", "lamp"]
    special: SpecialTokens
    log_prior: Floats = field(repr=False)
    steps: int = 60
    step_size: float = 0.05
    needs: Granularity = Granularity.SUM

    def run(self, view: View, *, rng: np.random.Generator) -> TextGuess:
        """Optimises from a random start, and reads the nearest words.

        Nothing is claimed: no threshold tells a good match from a bad one. There is no token budget either.

        Raises:
            NotApplicableError: If the model has no table of words or no head, or the client took other steps.
        """
        if self.backbone.answers == "words":
            raise NotApplicableError("gradient matching fits texts to the gradient of a classification head")
        plan = view.plan.for_client(view.contributors[0])
        if plan.optimizer != "sgd" or plan.local_steps > 1:
            raise NotApplicableError(
                "gradient matching reads an update of one step of SGD (training.optimizer, training.local_steps)"
            )
        self.backbone.load(view.before)
        methods.train_only(self.backbone.model, view.trained)
        table = word_table(self.backbone.model)
        # A private client divides the sum over its sample by a public number, others by that of their examples.
        divisor = plan.nominal_batch if plan.private else 1
        target = {
            name: torch.tensor(-divisor * value / plan.learning_rate, dtype=torch.float32, device=table.weight.device)
            for name, value in unflatten(view.observed, view.trained).items()
        }
        weights = table.weight.detach()
        chosen = torch.tensor(rng.choice(len(weights), self.words), device=weights.device)
        vectors = weights[chosen].clone().requires_grad_(True)
        optimizer = torch.optim.Adam([vectors], lr=self.step_size)
        for step in range(self.steps):
            optimizer.zero_grad()
            vectors.grad = torch.autograd.grad(self._loss(vectors, table, target), vectors)[0]
            optimizer.step()
            if self.objective == "lamp" and (step + 1) % SWAP_EVERY == 0:
                self._swap(vectors, table, target)
        words = tuple(self._nearest(vectors.detach(), weights))
        ranked = frozenset((place, token) for place, token in enumerate(words, start=1))
        return TextGuess(ranked=ranked, claimed=frozenset(), sentence=words, token_budget=0, directions=0)

    def _loss(self, vectors: Tensor, table: nn.Embedding, target: dict[str, Tensor]) -> Tensor:
        gradient = self._gradient(vectors, table, list(target))
        ours = torch.cat([gradient[name].flatten() for name in target])
        theirs = torch.cat([target[name].flatten() for name in target])
        if self.objective == "lamp":
            mean_length = table.weight.detach().norm(dim=1).mean()
            off = (vectors.norm(dim=1).mean() - mean_length) ** 2
            return 1 - torch.cosine_similarity(ours, theirs, dim=0) + LAMP_LENGTH * off
        loss = ((ours - theirs) ** 2).sum()
        return loss + TAG_ALPHA * (ours - theirs).abs().sum() if self.objective == "tag" else loss

    def _gradient(self, vectors: Tensor, table: nn.Embedding, names: list[str]) -> dict[str, Tensor]:
        model = self.backbone.model
        trained = {methods.public_name(name): p for name, p in model.named_parameters() if p.requires_grad}
        frame = [self.special.first, *[self.special.padding] * self.words, self.special.last]
        ids = torch.tensor([frame], device=table.weight.device)
        with sdpa_kernel(SDPBackend.MATH), _in_place_of_words(table, vectors):
            logits = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
            loss = nn.functional.cross_entropy(logits, torch.tensor([self.label], device=logits.device))
            found = torch.autograd.grad(loss, [trained[name] for name in names], create_graph=True)
        return dict(zip(names, found, strict=True))

    def _swap(self, vectors: Tensor, table: nn.Embedding, target: dict[str, Tensor]) -> None:
        """Exchanges two places where the match improves by more than the words lose in likelihood."""
        weights = table.weight.detach()

        def cost(candidate: Tensor) -> float:
            prior = float(self.log_prior[self._nearest(candidate, weights)].mean())
            return float(self._loss(candidate, table, target).detach()) - LAMP_PRIOR * prior

        best = cost(vectors.detach().clone())
        for left, right in list(combinations(range(self.words), 2))[: 2 * self.words]:
            order = list(range(self.words))
            order[left], order[right] = right, left
            candidate = vectors.detach()[order].clone()
            if (found := cost(candidate)) < best:
                best = found
                vectors.data.copy_(candidate.detach())

    def _nearest(self, vectors: Tensor, weights: Tensor) -> list[int]:
        similar = nn.functional.normalize(vectors.detach(), dim=1) @ nn.functional.normalize(weights, dim=1).T
        similar[:, [self.special.first, self.special.last, self.special.padding]] = -1.0
        return [int(token) for token in similar.argmax(dim=1)]


@contextmanager
def _in_place_of_words(table: nn.Embedding, vectors: Tensor) -> Iterator[None]:
    """Puts `vectors` between the first and the last token of a text."""

    def replace(_: nn.Module, __: tuple[Tensor, ...], looked_up: Tensor) -> Tensor:
        return torch.cat([looked_up[:, :1], vectors[None], looked_up[:, -1:]], dim=1)

    handle = table.register_forward_hook(replace)
    try:
        yield
    finally:
        handle.remove()


def word_table(model: nn.Module) -> nn.Embedding:
    """The model's embeddings of words.

    Raises:
        NotApplicableError: If it has not one table of them.
    """
    for name, module in model.named_modules():
        if name.endswith(("word_embeddings", "embed_tokens", "shared", "wte")) and isinstance(module, nn.Embedding):
            return module
    raise NotApplicableError("gradient matching needs a model with one table of words")
