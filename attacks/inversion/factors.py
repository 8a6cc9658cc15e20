"""The parts of an update that touch one layer's input, read out of a view.

For y = W x + s B A x with G = ∂L/∂y and X the layer's inputs (a column each token): ∂A = s Bᵀ G Xᵀ has its rows in
span(X), ∂B = s G (A X)ᵀ has its rows in span(A X). Query, key and value of one layer share X.
"""

import re
from dataclasses import dataclass, field

import numpy as np

from attacks.base import Floats, View
from attacks.errors import NotApplicableError
from fedpeft_secure.adapters import Role, unflatten

ATTENTION = re.compile(
    r"(?:\.(?:layer|layers|h)|(?<!\.decoder)\.block)\.(\d+)\."
    r"(?:attention\.(?:self\.)?(?:query|key|value|q_lin|k_lin|v_lin)"
    r"|self_attn\.(?:q_proj|k_proj|v_proj)|attn\.c_attn|layer\.0\.SelfAttention\.(?:q|k|v))$"
)
"""Attention modules of BERT, RoBERTa, DistilBERT, LLaMA, GPT-2 and T5's encoder, and the number of their layer."""


WEIGHT_ROUNDING = 2.0**-24
"""An update is the difference of two fp32 weights, and as wrong as the later one was rounded."""


def layer_of(module: str) -> int | None:
    """The layer whose input the named module reads, or None for modules of other kinds."""
    found = ATTENTION.search(module)
    return int(found[1]) if found else None


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Factor:
    """One observed matrix whose rows lie in the span of the tokens' images.

    Args:
        route: "A" (images are the tokens themselves) or "B" (images are A x).
        observed: shape (rows, k).
        image: x ↦ imageᵀ x, shape (n, k); None for the identity.
        noise_stddev: of one entry of `observed`: DP noise, rounding and arithmetic together.
        module: whose it is; empty where several are stacked.
    """

    route: str
    observed: Floats = field(repr=False)
    image: Floats | None = field(repr=False)
    noise_stddev: float
    module: str = ""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LayerFactors:
    """All that a view says about one layer's input.

    Args:
        factors: independent evidence; ∂A stacked over modules, ∂B by module.
        token_budget: distinct (position, token) pairs up to which recovery is exact.
    """

    factors: tuple[Factor, ...]
    token_budget: int


def read_layer(view: View, layer: int, *, relative_precision: float) -> LayerFactors:
    """Finds one layer's factors in a view.

    Args:
        view: of one client or a sum.
        layer: counted from 0, whose input is a finite dictionary.
        relative_precision: error of one entry of a gradient in the client's arithmetic, relative to its size.

    Raises:
        NotApplicableError: If no attention module of that layer is trained.
    """
    modules = [module for module in view.trained.modules if layer_of(module) == layer]
    if not modules:
        raise NotApplicableError(
            f"span inversion reads query, key or value of layer {layer}; none of them is trained here (peft.targets, "
            "peft.layers)"
        )
    values = unflatten(view.observed, view.trained)
    left, stacked, weights = [], [], []
    for module in modules:
        named = {entry.role: entry.name for entry in view.trained.entries if entry.module == module}
        weights += [view.before[name] for name in named.values()]
        if Role.LORA_A in named:
            stacked.append(values[named[Role.LORA_A]])
        if Role.LORA_B in named:
            base = named.get(Role.LORA_A, f"{module}.lora_A.weight")
            left.append((module, values[named[Role.LORA_B]], np.asarray(view.before[base], dtype=np.float64).T))
    difference = WEIGHT_ROUNDING * float(np.sqrt(np.mean(np.concatenate([w.ravel() for w in weights]) ** 2)))
    factors = [
        Factor(
            route="B",
            observed=rows,
            image=image,
            noise_stddev=_stddev(view, rows, relative_precision, difference),
            module=module,
        )
        for module, rows, image in left
    ]
    budgets = [rows.shape[1] - 1 for _, rows, _ in left]
    if stacked:
        rows = np.concatenate(stacked)
        factors.append(
            Factor(
                route="A", observed=rows, image=None, noise_stddev=_stddev(view, rows, relative_precision, difference)
            )
        )
        budgets.append(rows.shape[0])
    return LayerFactors(factors=tuple(factors), token_budget=max(budgets))


def _stddev(view: View, rows: Floats, relative_precision: float, difference: float) -> float:
    arithmetic = relative_precision * float(np.sqrt(np.mean(rows**2)))
    return float(np.sqrt(view.noise_stddev**2 + view.rounding_stddev**2 + arithmetic**2 + difference**2))
