"""Why CKKS decryptions are rounded before they leave: the passive attack of Li and Micciancio, on toy parameters.

Source: Li, Micciancio, On the Security of Homomorphic Encryption on Approximate Numbers, EUROCRYPT 2021, section 3.
"""

import numpy as np
import pytest

DEGREE, PRIME, SCALE = 64, 17_592_186_044_423, 2.0**30  # a modulus of 44 bits


def rotations(polynomial):
    """The matrix of multiplication by `polynomial` modulo X^N + 1."""
    rows = []
    for index in range(DEGREE):
        row = np.roll(polynomial, index).astype(object)
        row[:index] *= -1
        rows.append(row)
    return np.array(rows, dtype=object).T


def roots():
    powers = [pow(5, index, 2 * DEGREE) for index in range(DEGREE // 2)]
    return np.exp(1j * np.pi * np.outer(powers, np.arange(DEGREE)) / DEGREE)


def encode(slots):
    """Coefficients of a plaintext polynomial."""
    return np.rint(2 / DEGREE * np.real(np.conj(roots()).T @ slots) * SCALE).astype(np.int64)


def decode(polynomial):
    """Slots of a plaintext polynomial: an approximate decryption, as CKKS libraries return it."""
    return roots() @ polynomial.astype(float) / SCALE


def centred(values):
    values = values % PRIME
    return np.where(values > PRIME // 2, values - PRIME, values)


def solve(matrix, right):
    """Gaussian elimination modulo the prime; None where the matrix is singular."""
    system = np.concatenate([matrix % PRIME, right[:, None] % PRIME], axis=1)
    for column in range(DEGREE):
        pivots = [row for row in range(column, DEGREE) if system[row, column]]
        if not pivots:
            return None
        system[[column, pivots[0]]] = system[[pivots[0], column]]
        system[column] = system[column] * pow(int(system[column, column]), -1, PRIME) % PRIME
        for row in range(DEGREE):
            if row != column:
                system[row] = (system[row] - system[row, column] * system[column]) % PRIME
    return centred(system[:, -1])


def a_round(seed):
    """A key, one symmetric encryption of known integers, and its decryption."""
    rng = np.random.default_rng(seed)
    secret = rng.integers(-1, 2, DEGREE)
    message = rng.integers(-1000, 1000, DEGREE // 2) + 1j * rng.integers(-1000, 1000, DEGREE // 2)
    mask = rng.integers(0, PRIME, DEGREE).astype(object)
    noise = rng.integers(-20, 21, DEGREE)
    body = (encode(message) + noise - rotations(mask) @ secret) % PRIME
    decrypted = decode(centred(body + rotations(mask) @ secret).astype(np.int64))
    return secret, message, (body, mask), decrypted


def attack(ciphertext, released):
    """The key, if the released slots are the whole plaintext: then c0 + c1·s = m has no noise left in it."""
    body, mask = ciphertext
    return solve(rotations(mask), (encode(released) - body) % PRIME)


@pytest.mark.parametrize("seed", range(3))
def test_unrounded_decryptions_reveal_the_key(seed):
    secret, message, ciphertext, decrypted = a_round(seed)
    assert np.abs(decrypted - message).max() < 1e-3  # right to three decimals, and that is enough to lose the key
    found = attack(ciphertext, decrypted)
    assert (found == secret).all()


@pytest.mark.parametrize("seed", range(3))
def test_rounded_decryptions_do_not(seed):
    secret, message, ciphertext, decrypted = a_round(seed)
    rounded = np.rint(decrypted.real) + 1j * np.rint(decrypted.imag)
    assert (rounded == message).all()  # a function of the plaintext alone: it says nothing about key or noise
    found = attack(ciphertext, rounded)
    assert found is None or not set(np.unique(found).tolist()) <= {-1, 0, 1}
    assert found is None or (found == secret).mean() < 0.2
