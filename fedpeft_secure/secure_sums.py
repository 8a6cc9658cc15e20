"""From a round plan to the secure sum that it names; server and clients derive the same, each for itself."""

import math
from fractions import Fraction
from functools import partial

import secagg
from fedpeft_secure.errors import ConfigError
from fedpeft_secure.plans import RoundPlan

MODEL_PART = "model"
"""What clients call the adapter in the secure sum's manifest: without DP each answers one model once."""


def secure_sum(plan: RoundPlan) -> secagg.SecureSum:
    """The protocol of a round."""
    codec: secagg.Codec = secagg.FixedPoint(clip=plan.codec_clip, bits=plan.codec_bits, max_weight=plan.max_weight)
    if plan.distributed:
        codec = secagg.ModularIntegers(bits=plan.codec_bits)
    if plan.protocol == "plain":
        return secagg.PlainSum(codec=codec, min_cohort=plan.min_cohort)
    if plan.protocol == "masked":
        return secagg.MaskedSum(
            codec=codec,
            malicious_server=plan.malicious_server,
            min_cohort=plan.min_cohort,
            adversarial_fraction=plan.adversarial_fraction,
            dropout_fraction=plan.dropout_fraction,
        )
    if plan.protocol in secagg.ONE_MESSAGE:
        return secagg.ONE_MESSAGE[plan.protocol](codec=codec, min_cohort=plan.min_cohort)
    known = ", ".join(("plain", "masked", *secagg.ONE_MESSAGE))
    raise ConfigError(f"secure_sum.protocol: no protocol {plan.protocol!r}; there are {known}")


def corrupt_clients(adversarial_fraction: float, population: int) -> int:
    """How many of all clients are taken for corrupt: ⌈γN⌉, one at least.

    The server chooses who is in a cohort, so every cohort must bear all of them.
    """
    return max(1, math.ceil(Fraction(repr(adversarial_fraction)) * population))


def guaranteed_honest(plan: RoundPlan, *, dim: int, directory: secagg.KeyDirectory) -> int:
    """The fewest honest clients in any sum of the round that is opened, at the assumed number of corrupt ones."""
    sums = sum_plan(plan, dim=dim, directory=directory)
    if sums.graph is not None:
        return sums.guaranteed_honest
    return max(1, sums.min_cohort - corrupt_clients(plan.adversarial_fraction, len(directory.members)))


def sum_plan(plan: RoundPlan, *, dim: int, directory: secagg.KeyDirectory) -> secagg.SumPlan:
    """The public parameters of the round's secure sum.

    Args:
        plan: the round's.
        dim: length of an encoded update.
        directory: the pinned keys of all clients.

    Raises:
        secagg.PlanError: If the cohort is too small for what the sum must bear.
    """
    protocol = secure_sum(plan)
    plan_sum = protocol.plan
    if isinstance(protocol, secagg.MaskedSum):
        colluders = corrupt_clients(plan.adversarial_fraction, len(directory.members))
        plan_sum = partial(protocol.plan, colluders=colluders)
    return plan_sum(
        clients=plan.cohort,
        dim=plan.summed_values(dim),
        run=plan.run,
        round=plan.round,
        attempt=plan.attempt,
        summed_weights=not plan.private,
        manifest=secagg.Manifest(parts={MODEL_PART: bytes.fromhex(plan.model_hash)}),
        directory=directory,
        noised=plan.private and plan.mechanism != "central",
        max_norm=plan.max_norm(dim),
    )
