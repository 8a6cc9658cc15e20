"""A base model of which some of its own parameters are trained: methods that add nothing, such as BitFit."""

from collections.abc import Collection

from torch import Tensor, nn
from transformers.modeling_outputs import SequenceClassifierOutput


class SelectedModel(nn.Module):
    """`base_model` with the parameters `selected` trainable and all others frozen.

    Args:
        base_model: a classifier of `models.load_classifier`.
        selected: names of parameters, as in `base_model.named_parameters()`.
        method: the name that the adapter's file carries.
        public_name: the base model's name in the adapter's file.
    """

    def __init__(self, base_model: nn.Module, *, selected: Collection[str], method: str, public_name: str) -> None:
        super().__init__()
        self.base_model = base_model
        self.config = base_model.config
        self.selected = frozenset(f"base_model.{name}" for name in selected)
        self.method = method
        self.public_name = public_name
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(name in self.selected)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, *, labels: Tensor | None = None
    ) -> SequenceClassifierOutput:
        """Class scores of a batch; shapes as in `models.MeanPooledClassifier`, `labels` as in `label_words`."""
        asked = {} if labels is None else {"labels": labels}
        output: SequenceClassifierOutput = self.base_model(input_ids=input_ids, attention_mask=attention_mask, **asked)
        return output

    def get_base_model(self) -> nn.Module:
        """The base model, as PEFT's models give it."""
        return self.base_model
