"""Label inference: the gradient of the classifier's bias says which classes were in the batch, on sums too.

For cross-entropy ∂b = mean(p − y): with p known from public examples, the shares of the classes follow.
"""

from dataclasses import dataclass, field

import numpy as np

from attacks.base import Floats, Granularity, View
from attacks.errors import NotApplicableError
from fedpeft_secure.adapters import Role, unflatten
from fedpeft_secure.clients.backbone import Backbone
from fedpeft_secure.clients.batches import Examples
from fedpeft_secure.server.evaluation import predict


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ClassShares:
    """Estimates the share of each class in the batches behind a message, after one local step of SGD.

    Args:
        backbone: the public model.
        public: examples on which the model's mean prediction is read.
        needs: works on sums.
    """

    backbone: Backbone = field(repr=False)
    public: Examples = field(repr=False)
    needs: Granularity = Granularity.SUM

    def run(self, view: View, *, rng: np.random.Generator) -> Floats:
        """Shares of the classes, shape (classes,), not below 0 and adding up to 1.

        Raises: NotApplicableError if no bias of a classifier is sent.
        """
        del rng  # nothing is drawn
        logits = predict(self.backbone, view.before, self.public).logits
        exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
        predicted = (exponents / exponents.sum(axis=1, keepdims=True)).mean(axis=0)
        shares = np.clip(predicted - bias_gradient(view), 0.0, None)
        total = float(shares.sum())
        return np.asarray(shares / total) if total > 0 else np.full(shares.size, 1 / shares.size)


def likeliest_label(view: View) -> int:
    """The label of a batch of one: the only class whose bias goes up.

    Raises: NotApplicableError if no bias of a classifier is sent.
    Source: Zhao, Mopuri, Bilen 2020, *iDLG*, section 3.1.
    """
    return int(np.argmin(bias_gradient(view)))


def bias_gradient(view: View) -> Floats:
    """The mean gradient of the classifier's bias that an observed change stands for.

    Raises: NotApplicableError if none is sent, or the steps are not those of SGD.
    """
    plan = view.plan
    if plan.optimizer != "sgd":
        raise NotApplicableError("the size of a gradient cannot be read off steps of AdamW")
    named = {entry.name: entry for entry in view.trained.entries}
    biases = [name for name, entry in named.items() if entry.role is Role.HEAD and name.endswith("bias")]
    if not biases:
        raise NotApplicableError("no bias of a classifier is trained")
    change = unflatten(view.observed, view.trained)[biases[-1]]
    return np.asarray(-change / (plan.learning_rate * plan.local_steps), dtype=np.float64)
