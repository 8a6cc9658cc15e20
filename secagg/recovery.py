"""Removing masks from a sum with verified secrets: every reconstructed seed and key is checked before it is used."""

import random
from collections.abc import Callable, Mapping

from secagg.crypto import Agreement, commit, pair_key, x25519_public
from secagg.errors import RoundFailedError, WireError
from secagg.graph import GraphPlan
from secagg.masks import PAIR_MASK, SELF_MASK, Masker
from secagg.packing import Residues
from secagg.plan import SumPlan
from secagg.server_states import Progress
from secagg.shamir import combine

MAX_SUBSETS = 256

Shares = Mapping[int, bytes]


def remove_masks(
    progress: Progress, *, plan: SumPlan, graph: GraphPlan, shares: Mapping[int, Shares]
) -> tuple[Residues, ...]:
    """Takes the survivors' self masks and the vanished clients' pairwise masks off the sum.

    Args: progress: with the sum of the uploads. shares: {owner: {point: share}}, of the kind that its fate calls for.
    Returns: the sum of the survivors' contributions, reduced modulo 2^m.
    Raises: RoundFailedError when a secret cannot be reconstructed and verified.
    """
    unmasked, masker = tuple(array.copy() for array in progress.total), Masker(plan.layout, session=progress.session)
    alive, adverts = set(progress.survivors), progress.roster.adverts
    for owner in progress.sharers:
        known, name, advert = shares.get(owner, {}), plan.clients[owner], adverts[owner]
        if owner in alive:
            seed = reconstruct(known, graph, name=name, public=commit, expected=advert.commitment)
            masker.subtract(unmasked, key=seed, purpose=SELF_MASK)
            continue
        near = [other for other in progress.neighbours[owner] if other in alive]
        if not near:  # then none of its masks is in the sum
            continue
        private = reconstruct(known, graph, name=name, public=x25519_public, expected=advert.mask_key)
        agreement = Agreement(private)
        for other in near:  # it had added this mask if it comes before `owner`, else subtracted it
            shared = agreement.with_public(adverts[other].mask_key)
            first, second = plan.clients[min(owner, other)], plan.clients[max(owner, other)]
            undo = masker.subtract if other < owner else masker.add
            key = pair_key(shared, session=progress.session, first=first, second=second)
            undo(unmasked, key=key, purpose=PAIR_MASK)
    plan.layout.reduce(unmasked)
    return unmasked


def reconstruct(
    shares: Shares, graph: GraphPlan, *, name: str, public: Callable[[bytes], bytes], expected: bytes
) -> bytes:
    """Combines a threshold of shares into the secret whose `public` value was advertised; else tries other subsets.

    Raises: RoundFailedError after `MAX_SUBSETS` subsets, or with too few shares.
    """
    points, threshold = sorted(shares), graph.threshold
    if len(points) < threshold:
        raise RoundFailedError(f"{len(points)} of {threshold} shares of {name!r} arrived; start another attempt")
    choose, subset = random.Random(0), points[:threshold]  # noqa: S311 - which shares are tried first is no secret
    for _ in range(MAX_SUBSETS):
        try:
            secret = combine({point: shares[point] for point in subset}, points=graph.degree)
        except WireError:
            secret = None
        if secret is not None and public(secret) == expected:
            return secret
        subset = sorted(choose.sample(points, threshold))
    raise RoundFailedError(f"no {threshold} shares of {name!r} fit what it advertised: clients lied; try again")
