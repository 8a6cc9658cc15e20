"""From a round plan to the secure sum that it names; server and clients derive the same, each for itself."""

import hashlib
import math
from collections.abc import Mapping
from fractions import Fraction
from functools import partial

import secagg
from fedpeft_secure.errors import ConfigError
from fedpeft_secure.plans import RoundPlan

MODEL_PART, EARLIER_PART = "model", "earlier sums"
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


def sum_plan(
    plan: RoundPlan,
    *,
    dim: int,
    directory: secagg.KeyDirectory,
    covered: Mapping[str, tuple[tuple[int, int], ...]] | None = None,
    earlier: bytes = b"",
) -> secagg.SumPlan:
    """The public parameters of the round's secure sum.

    Args:
        plan: the round's.
        dim: length of an encoded update.
        directory: the pinned keys of all clients.
        covered: the half-open ranges that each client fills, if not all fill everything.
        earlier: the means of the round's sums before this one, as they were sent; one secure sum binds the next.

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
        run=plan.sum_run,
        round=plan.round,
        attempt=plan.attempt,
        summed_weights=plan.summed_weights,
        manifest=_manifest(plan, covered or {}, earlier),
        directory=directory,
        noised=plan.private and plan.mechanism != "central",
        max_norm=plan.max_norm(dim),
    )


def sent_parts(model_digest: bytes, earlier: bytes) -> dict[str, bytes]:
    """The digests of all that a client was sent for a sum, as it computes them itself."""
    return {MODEL_PART: model_digest} | ({EARLIER_PART: hashlib.sha256(earlier).digest()} if earlier else {})


def _manifest(plan: RoundPlan, covered: Mapping[str, tuple[tuple[int, int], ...]], earlier: bytes) -> secagg.Manifest:
    parts = sent_parts(bytes.fromhex(plan.model_hash), earlier)
    entries = {
        client: secagg.Entry(parts=tuple(parts), covered=ranges)
        for client, ranges in covered.items()
        if client in plan.cohort
    }
    return secagg.Manifest(parts=parts, entries=entries)
