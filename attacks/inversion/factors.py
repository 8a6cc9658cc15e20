"""The parts of an update that touch the first layer's input, read out of a view.

For y = W x + s B A x with G = ∂L/∂y and X the layer's inputs (a column each token): ∂A = s Bᵀ G Xᵀ has its rows in
span(X), ∂B = s G (A X)ᵀ has its rows in span(A X). Query, key and value of one layer share X.
"""

import re
from dataclasses import dataclass, field

import numpy as np

from attacks.base import Floats, View
from attacks.errors import NotApplicableError
from fedpeft_secure.adapters import Role, unflatten

FIRST_LAYER = re.compile(r"\.layer\.0\.attention\.(?:self\.)?(?:query|key|value|q_lin|k_lin|v_lin)$")
"""The modules of a BERT-like encoder whose input is the output of the embeddings."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Factor:
    """One observed matrix whose rows lie in the span of the tokens' images.

    Args:
        route: "A" (images are the tokens themselves) or "B" (images are A x).
        observed: shape (rows, k).
        image: x ↦ imageᵀ x, shape (n, k); None for the identity.
        noise_stddev: of one entry of `observed`: DP noise, rounding and arithmetic together.
    """

    route: str
    observed: Floats = field(repr=False)
    image: Floats | None = field(repr=False)
    noise_stddev: float


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class FirstLayer:
    """All that a view says about the first layer's input.

    Args:
        factors: independent evidence; ∂A stacked over modules, ∂B by module.
        token_budget: distinct (position, token) pairs up to which recovery is exact.
    """

    factors: tuple[Factor, ...]
    token_budget: int


def read_first_layer(view: View, *, relative_precision: float) -> FirstLayer:
    """Finds the first layer's factors in a view.

    Args:
        view: of one client or a sum.
        relative_precision: error of one entry of a gradient in the client's arithmetic, relative to its size.

    Raises:
        NotApplicableError: If no attention module of the first layer is trained.
    """
    modules = [module for module in view.trained.modules if FIRST_LAYER.search(module)]
    if not modules:
        raise NotApplicableError(
            "span inversion reads the first layer's query, key or value; none of them is among peft.targets here"
        )
    values = unflatten(view.observed, view.trained)
    left, stacked = [], []
    for module in modules:
        named = {entry.role: entry.name for entry in view.trained.entries if entry.module == module}
        if Role.LORA_A in named:
            stacked.append(values[named[Role.LORA_A]])
        if Role.LORA_B in named:
            base = named.get(Role.LORA_A, f"{module}.lora_A.weight")
            left.append((values[named[Role.LORA_B]], np.asarray(view.before[base], dtype=np.float64).T))
    factors = [
        Factor(route="B", observed=rows, image=image, noise_stddev=_stddev(view, rows, relative_precision))
        for rows, image in left
    ]
    budgets = [rows.shape[1] - 1 for rows, _ in left]
    if stacked:
        rows = np.concatenate(stacked)
        factors.append(
            Factor(route="A", observed=rows, image=None, noise_stddev=_stddev(view, rows, relative_precision))
        )
        budgets.append(rows.shape[0])
    return FirstLayer(factors=tuple(factors), token_budget=max(budgets))


def _stddev(view: View, rows: Floats, relative_precision: float) -> float:
    arithmetic = relative_precision * float(np.sqrt(np.mean(rows**2)))
    return float(np.sqrt(view.noise_stddev**2 + view.rounding_stddev**2 + arithmetic**2))
