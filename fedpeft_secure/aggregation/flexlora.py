"""FlexLoRA: the sum of the products, cut back to low rank by an SVD.

(B, A) = (U Σ, Vᵀ) of SVD_r(Σ p_k B_k A_k): the best answer of rank r, at the bytes of the whole product. A device of
smaller rank takes the first columns, which are the best answer of its rank.

Source: Bai et al. 2024, *Federated Fine-tuning of Large Language Models under Heterogeneous Tasks and Client
Resources*, the section on aggregation and SVD weight redistribution.
"""

from dataclasses import dataclass

from fedpeft_secure.aggregation.base import MixedRanks, Reads, Weighing
from fedpeft_secure.aggregation.factors import Blocks, Factors, ModulePlan
from fedpeft_secure.aggregation.low_rank import Pair, truncate


@dataclass(frozen=True, kw_only=True, slots=True)
class FlexLoRA:
    """Clients send their product; the server takes the SVD of the mean."""

    name: str = "flexlora"
    reads: Reads = Reads.SUM
    mixed_ranks: MixedRanks = MixedRanks.DENSE
    weighing: Weighing = Weighing.GIVEN

    def encode_factors(self, factors: Factors, public: ModulePlan, sums: tuple[Blocks, ...]) -> Blocks:
        """B_k A_k."""
        del public, sums
        return (factors.product(),)

    def apply_sums(self, sums: tuple[Blocks, ...], public: ModulePlan) -> Pair:
        """The best factors of rank at most `public.rank`."""
        ((product,),) = sums
        return truncate(product, public.rank)
