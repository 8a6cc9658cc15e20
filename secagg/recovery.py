"""Removing masks from a sum with verified secrets: every reconstructed seed and key is checked before it is used."""

import random
from collections.abc import Callable, Mapping

from secagg.client import commit
from secagg.crypto import PAIR_MASK, SELF_MASK, add_mask, agree, x25519_public
from secagg.errors import RoundFailedError, WireError
from secagg.masked_messages import Roster
from secagg.packing import Residues
from secagg.plan import SumPlan
from secagg.shamir import combine

MAX_SUBSETS = 256


def remove_masks(
    total: tuple[Residues, ...],
    *,
    plan: SumPlan,
    threshold: int,
    session: bytes,
    roster: Roster,
    neighbours: Mapping[int, tuple[int, ...]],
    sharers: tuple[int, ...],
    survivors: tuple[int, ...],
    shares: Mapping[int, Mapping[int, bytes]],
) -> tuple[Residues, ...]:
    """Takes the survivors' self masks and the vanished clients' pairwise masks off the sum.

    Args: total: sum of the survivors' uploads. shares: {owner: {point: share}}, of the kind that the owner's fate calls for.
    Returns: the sum of the survivors' contributions, reduced modulo 2^m.
    Raises: RoundFailedError when a secret cannot be reconstructed and verified.
    """
    unmasked, layout, alive = tuple(array.copy() for array in total), plan.layout, set(survivors)
    for owner in sharers:
        advert, name = roster.adverts[owner], plan.clients[owner]
        if owner in alive:
            seed = reconstruct(
                shares.get(owner, {}),
                threshold=threshold,
                name=name,
                valid=lambda s, a=advert: commit(s) == a.commitment,
            )
            add_mask(unmasked, key=seed, purpose=SELF_MASK, layout=layout, session=session, negative=True)
            continue
        near = [other for other in neighbours[owner] if other in alive]
        if not near:
            continue
        private = reconstruct(
            shares.get(owner, {}),
            threshold=threshold,
            name=name,
            valid=lambda s, a=advert: x25519_public(s) == a.mask_key,
        )
        for other in near:
            key = agree(private, roster.adverts[other].mask_key)
            # a survivor subtracted the mask of every neighbour before it: put it back, or take it off
            add_mask(unmasked, key=key, purpose=PAIR_MASK, layout=layout, session=session, negative=other < owner)
    for segment, array in zip(layout.segments, unmasked, strict=True):
        array &= array.dtype.type(segment.modulus_mask)
    return unmasked


def reconstruct(shares: Mapping[int, bytes], *, threshold: int, name: str, valid: Callable[[bytes], bool]) -> bytes:
    """Combines `threshold` shares into the secret that `valid` accepts; on a mismatch tries other subsets.

    Raises: RoundFailedError after `MAX_SUBSETS` subsets, or with too few shares.
    """
    points = sorted(shares)
    if len(points) < threshold:
        raise RoundFailedError(f"{len(points)} of {threshold} shares of {name!r} arrived; start another attempt")
    choose, subset = random.Random(0), points[:threshold]  # noqa: S311 - which shares are tried first is no secret
    for _ in range(MAX_SUBSETS):
        try:
            secret = combine({point: shares[point] for point in subset})
        except WireError:
            secret = None
        if secret is not None and valid(secret):
            return secret
        subset = sorted(choose.sample(points, threshold))
    raise RoundFailedError(
        f"no {threshold} shares of {name!r} fit what it advertised: neighbours lied; start another attempt"
    )
