"""AdaLoRA's server: it steps along the mean, keeps the factors orthogonal and prunes singular triplets.

Clients train P, Λ, Q of ΔW = P diag(Λ) Q. All that the paper does to them besides, scoring, pruning and the
regulariser ‖QQᵀ − I‖² + ‖PᵀP − I‖², happen here, after the secure sum:

- The score of a triplet is |λ ∂λ| plus the means of |p ∂p| and |q ∂q|. For the gradient ∂ stands the server optimiser's
  momentum where it has one, else the round's mean: what smooths the noise, as the paper's moving averages do.
- The λ of the triplets with the lowest scores over all modules become zero; the budget falls as in equation 12.
- The regulariser has no data in it. A damped step of Newton and Schulz down its slope, on the server, replaces its
  gradient in every client's loss, where it would only shift each example's gradient before clipping.

Guarantee: a function of the noised sums alone, so that it costs no privacy. Does not cover: how well noise lets
triplets be told apart; where all scores are noise, pruning is random.
Source: Zhang et al. 2023, *AdaLoRA: Adaptive Budget Allocation for Parameter-Efficient Fine-Tuning*, section 3.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from fedpeft_secure.adapters import AdapterSpec, AdapterState, flatten, unflatten
from fedpeft_secure.aggregation.base import Reads
from fedpeft_secure.aggregation.fedit import step_along
from fedpeft_secure.aggregation.server_optimizers import ServerOptimizer
from fedpeft_secure.config import Config
from fedpeft_secure.errors import ConfigError

DAMPING = 0.1
"""Of the regulariser's step; 0.5 would orthogonalise nearly orthogonal factors at once."""

WARM_UP, FINAL = 0.1, 0.3
"""Shares of the rounds before pruning starts, and after it has reached its target."""

P, VALUES, Q = "lora_B", "lora_E", "lora_A"
"""What PEFT calls P (d, r), Λ (r, 1) and Q (r, n)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AdaLoRA:
    """Clients train everything; the server steps along the mean, orthogonalises a little, and prunes.

    Args:
        rounds: of the whole run.
        target_rank: triplets that each module keeps in the end, on average.
    """

    rounds: int
    target_rank: int
    name: str = "adalora"
    reads: Reads = Reads.SUM

    @classmethod
    def planned(cls, config: Config) -> "AdaLoRA":
        """The schedule that the configuration asks for.

        Raises:
            ConfigError: If the method has no singular triplets, or the target is above the rank.
        """
        peft = config.peft
        if peft.method != "adalora":
            raise ConfigError(
                f'aggregation.strategy: "adalora" prunes singular triplets, which peft.method = {peft.method!r} has '
                'not; use "auto"'
            )
        target = max(1, 2 * peft.rank // 3) if peft.target_rank == "auto" else peft.target_rank
        if target > peft.rank:
            raise ConfigError(f"peft.target_rank: {target} is above peft.rank = {peft.rank}, where pruning starts")
        return cls(rounds=config.training.rounds, target_rank=target)

    def trainable(self, spec: AdapterSpec) -> AdapterSpec:
        """Everything."""
        return spec

    def encode(self, delta: Mapping[str, np.ndarray], spec: AdapterSpec) -> np.ndarray:
        """The change of all tensors, flat."""
        return flatten(AdapterState(delta), spec)

    def apply(
        self, state: AdapterState, mean: np.ndarray, spec: AdapterSpec, optimizer: ServerOptimizer
    ) -> tuple[AdapterState, ServerOptimizer]:
        """One server step on everything, a step towards orthogonal factors, and the round's budget of triplets."""
        state, optimizer = step_along(state, mean, spec, optimizer)
        memory = optimizer.arrays()
        slopes = unflatten(memory.get("mean", mean).astype(np.float64), spec)
        modules = [name.removesuffix(VALUES) for name in spec.names if name.endswith(f".{VALUES}")]
        values = {name: state[name].astype(np.float64) for name in spec.names}
        for module in modules:
            values[module + Q] = towards_orthogonal(values[module + Q])
            values[module + P] = towards_orthogonal(values[module + P].T).T
        scores = {module: importance(values, slopes, module) for module in modules}
        done = int(memory["steps"][0]) if "steps" in memory else self.rounds
        kept = keep_best(scores, self.budget(done, ranks=sum(len(score) for score in scores.values()), of=len(modules)))
        for module in modules:
            values[module + VALUES] = values[module + VALUES] * kept[module][:, None]
        return state.replace(values), optimizer

    def budget(self, done: int, *, ranks: int, of: int) -> int:
        """How many triplets may stay after `done` rounds, of `ranks` in `of` modules (equation 12)."""
        start, end = WARM_UP * self.rounds, (1 - FINAL) * self.rounds
        left = float(np.clip((end - done) / max(end - start, 1), 0, 1))
        target = self.target_rank * of
        return round(target + (ranks - target) * left**3)


def towards_orthogonal(rows: np.ndarray) -> np.ndarray:
    """One damped step A ← A − η (AAᵀ − I) A of shape (r, n); stable whatever the scale of A."""
    gram = rows @ rows.T
    scale = max(1.0, float(np.linalg.norm(gram, 2)))
    stepped: np.ndarray = rows - DAMPING / scale * (gram - np.eye(len(rows))) @ rows
    return stepped


def importance(values: Mapping[str, np.ndarray], slopes: Mapping[str, np.ndarray], module: str) -> np.ndarray:
    """The score of each triplet of `module`, shape (r,) (equation 7)."""
    products = {part: np.abs(values[module + part] * slopes[module + part]) for part in (P, VALUES, Q)}
    score: np.ndarray = products[VALUES][:, 0] + products[P].mean(axis=0) + products[Q].mean(axis=1)
    return score


def keep_best(scores: Mapping[str, np.ndarray], budget: int) -> dict[str, np.ndarray]:
    """Module → which of its triplets are among the `budget` best of all modules, shape (r,); ties by order."""
    names = sorted(scores)
    every = np.concatenate([scores[name] for name in names])
    kept = np.zeros(len(every), dtype=bool)
    kept[np.argsort(-every, kind="stable")[:budget]] = True
    ends = np.cumsum([len(scores[name]) for name in names])[:-1]
    return dict(zip(names, np.split(kept, ends), strict=True))
