"""Reads a model's quality off public examples."""

from dataclasses import dataclass

import numpy as np
import torch

from fedpeft_secure.adapters import AdapterState
from fedpeft_secure.clients.backbone import Backbone
from fedpeft_secure.clients.batches import Examples

EVALUATION_BATCH = 64


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Predictions:
    """Class scores of shape (n, classes) in fp32 and the labels of shape (n,), in the order of the examples."""

    logits: np.ndarray
    labels: np.ndarray

    @property
    def losses(self) -> np.ndarray:
        """Cross-entropy of each example, shape (n,)."""
        shifted = self.logits - self.logits.max(axis=1, keepdims=True)
        log_normaliser = np.log(np.exp(shifted).sum(axis=1))
        return log_normaliser - shifted[np.arange(len(self.labels)), self.labels]

    @property
    def accuracy(self) -> float:
        """Share of right answers."""
        return float((self.logits.argmax(axis=1) == self.labels).mean())

    @property
    def loss(self) -> float:
        """Mean cross-entropy."""
        return float(self.losses.mean())


@torch.no_grad()
def predict(backbone: Backbone, state: AdapterState, examples: Examples) -> Predictions:
    """The class scores that the adapter `state` gives to `examples`."""
    backbone.load(state)
    order = np.argsort([len(ids) for ids in examples.token_ids], kind="stable")
    rows = [
        backbone.logits(backbone.model, batch).cpu().numpy()
        for batch in backbone.batches(examples, order, batch_size=EVALUATION_BATCH)
    ]
    sorted_logits = np.concatenate(rows)
    logits = np.empty_like(sorted_logits)
    logits[order] = sorted_logits
    return Predictions(logits=logits, labels=examples.labels)
