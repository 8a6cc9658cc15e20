"""The oracle itself, against gradients written by hand."""

import pytest
import torch
from torch import nn

from dp.errors import InvalidParameter
from dp.oracle import per_example_gradients, split_examples


def test_equals_the_gradient_by_hand():
    model = nn.Linear(3, 1)
    x, y = torch.randn(5, 3), torch.randn(5)
    residual = (model(x)[:, 0] - y).detach()
    found = per_example_gradients(model, (x, y), lambda of, batch: (of(batch[0])[:, 0] - batch[1]).square())
    assert torch.allclose(found["weight"][:, 0], 2 * residual[:, None] * x, atol=1e-5)
    assert torch.allclose(found["bias"][:, 0], 2 * residual, atol=1e-5)


def test_unreached_parameters_have_zero_gradients():
    model = nn.ModuleDict({"used": nn.Linear(3, 1), "unused": nn.Linear(3, 1)})
    found = per_example_gradients(model, torch.randn(2, 3), lambda of, x: of["used"](x)[:, 0])
    assert not found["unused.weight"].any()
    assert found["used.weight"].any()


def test_splitting():
    batch = {"a": torch.arange(3), "b": (torch.arange(3) * 2,)}
    rows = split_examples(batch)
    assert [int(row["a"]) for row in rows] == [0, 1, 2]
    assert [int(row["b"][0]) for row in rows] == [0, 2, 4]
    with pytest.raises(InvalidParameter, match="split="):
        split_examples([torch.zeros(2)])
    with pytest.raises(ValueError, match=r"shorter|longer"):
        split_examples((torch.zeros(2), torch.zeros(3)))
