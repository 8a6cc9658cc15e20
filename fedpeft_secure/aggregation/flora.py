"""FLoRA: the factors side by side; their product is the exact sum.

B = [B_1 … B_K], A = [p_1 A_1; …; p_K A_K]. Every client's factors are in the answer, so it reads individual updates: no
secure sum can hide them. Rank Σ r_k; the paper merges the product into W and starts new factors every round.

Source: Wang et al. 2024, *FLoRA: Federated Fine-Tuning Large Language Models with Heterogeneous Low-Rank Adaptations*,
the section on stacking-based aggregation.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fedpeft_secure.aggregation.base import Reads
from fedpeft_secure.aggregation.factors import Factors
from fedpeft_secure.aggregation.low_rank import Pair


@dataclass(frozen=True, kw_only=True, slots=True)
class FLoRA:
    """The server stacks what each client sends."""

    name: str = "flora"
    reads: Reads = Reads.INDIVIDUAL

    def stack(self, clients: Sequence[Factors], shares: Sequence[float]) -> Pair:
        """(B, A) of rank Σ r_k.

        Args:
            clients: every client's factors.
            shares: p_k, summing to 1.
        """
        b = np.concatenate([client.b for client in clients], axis=1)
        a = np.concatenate([share * client.a for client, share in zip(clients, shares, strict=True)])
        return b, a
