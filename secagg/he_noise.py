"""How far encryption noise can be off in a sum of n ciphertexts, except with probability 2^-40: the proofs in numbers.

SEAL draws errors from a centred binomial distribution (variance 21/2) and secrets uniformly from {-1, 0, 1} (variance
2/3). Both are strictly sub-Gaussian: a fixed linear functional with coefficients c exceeds λ·√(variance·‖c‖²) with
probability at most 2·exp(-λ²/2). The uniform rounding error of a modulus switch has variance 1/12 and is strictly
sub-Gaussian too. SPEC.md, part II, section 6 spells the argument out.
"""

import math

FAILURE_BITS = 41
"""Noise, and separately the key, exceed their bounds with probability at most 2^-41 each."""
ERROR_VARIANCE = 10.5
TERNARY_VARIANCE = 2 / 3
ROUNDING_VARIANCE = 1 / 12


def tail(events: int) -> float:
    """λ such that `events` sub-Gaussian variables all stay within λ standard deviations, but for 2^-41."""
    return math.sqrt(2 * (math.log(2 * events) + FAILURE_BITS * math.log(2)))


def bfv_noise(*, degree: int, clients: int, ciphertexts: int, special_prime: int) -> float:
    """Bound on every coefficient of the noise of a sum of `clients` BFV encryptions.

    e0 + e1·s − u·e for each client, with ‖s‖² ≤ N and ‖e‖² ≤ 21·N (the latter but for exp(-0.15·N)); half a unit for
    scaling the plaintext. With a special prime P that sum shrinks by P, and rounding adds r0 + r1·s with |r0| ≤ 1/2.
    Assumes: with a special prime, that r1 is uniform given s: the RLWE assumption with u as the secret.
    """
    each = ERROR_VARIANCE * (1 + degree) + TERNARY_VARIANCE * 2 * ERROR_VARIANCE * degree
    fresh = tail(ciphertexts * degree) * math.sqrt(clients * each)
    if not special_prime:
        return fresh + clients / 2
    rounding = tail(ciphertexts * degree) * math.sqrt(clients * ROUNDING_VARIANCE * degree)
    return fresh / special_prime + rounding + clients


def ckks_noise(*, degree: int, clients: int, ciphertexts: int, special_prime: int) -> float:
    """Bound on the real and the imaginary part of every slot of the noise of a sum, before the scale is divided out.

    A slot is the polynomial at a root of unity ζ: Re e(ζ) is a functional with ‖c‖² = N/2, and Re e1(ζ)·s(ζ) one in e1
    with ‖c‖² = |s(ζ)|²·N/2. |s(ζ)|² and |e(ζ)|² of the key are bounded first, by the same tail over all slots.
    Encoding rounds every coefficient once: at most N/2 in a slot.
    """
    key = tail(2 * degree) ** 2 * degree
    secret, error = TERNARY_VARIANCE * key, ERROR_VARIANCE * key
    each = ERROR_VARIANCE * (1 + secret) + TERNARY_VARIANCE * error
    fresh = tail(ciphertexts * degree) * math.sqrt(clients * degree / 2 * each)
    if not special_prime:
        return fresh + clients * degree / 2
    rounding = tail(ciphertexts * degree) * math.sqrt(clients * degree / 2 * ROUNDING_VARIANCE * secret)
    return fresh / special_prime + rounding + clients * degree


def transform_error(*, degree: int, largest: float) -> float:
    """Bound on what two floating-point transforms (encode, decode) add to a slot, for sums of moduli up to `largest`.

    Source: Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., theorem 24.2, with twiddle factors good to
    four units in the last place: a relative error of log2(N)·16·2^-53 in the 2-norm.
    """
    relative = math.log2(degree) * 16 * 2.0**-53
    return 2 * relative * math.sqrt(degree / 2) * largest
