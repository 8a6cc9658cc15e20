import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import secagg
from secagg import he_seal

SETS = {
    "bfv, one prime": secagg.he_parameters_for("bfv", count=30, clients=6, bits=16),
    "bfv, special prime": secagg.he_parameters_for("bfv", count=20_000, clients=100, bits=16),
    "bfv, two primes": secagg.he_parameters_for("bfv", count=22_500, clients=8, bits=16),
    "ckks, one prime": secagg.he_parameters_for("ckks", count=3000, clients=6, bits=16),
    "ckks, special prime": secagg.he_parameters_for("ckks", count=9000, clients=100, bits=16),
    "ckks, two primes": secagg.he_parameters_for("ckks", count=3000, clients=100_000, bits=16),
}
COUNTS = dict(zip(SETS, (30, 20_000, 22_500, 3000, 9000, 3000), strict=True))


def test_the_sets_are_of_all_kinds():
    kinds = {(p.scheme, len(p.data_primes), p.special_prime > 0) for p in SETS.values()}
    assert kinds == {(s, n, special) for s in ("bfv", "ckks") for n, special in ((1, False), (1, True), (2, True))}


@pytest.mark.parametrize("name", SETS)
def test_sums_come_back_exactly(name):
    parameters, count = SETS[name], COUNTS[name]
    rng, entropy = np.random.default_rng(0), secagg.seeded_entropy(name.encode())
    seed = entropy(he_seal.SEED_BYTES)
    public = he_seal.public_key(parameters, seed, randomness=entropy(64))
    low, high = (0, 1 << 16) if parameters.scheme == "bfv" else (-(1 << 15), 1 << 15)
    first, second = (rng.integers(low, high, count) for _ in range(2))
    total = he_seal.encrypt(parameters, public, first, entropy=entropy)
    secagg.he_wire.add_polynomials(
        total, he_seal.encrypt(parameters, public, second, entropy=entropy), primes=parameters.data_primes
    )
    assert (he_seal.decrypt(parameters, seed, total, count=count) == first + second).all()
    other = he_seal.decrypt(parameters, entropy(64), total, count=count)
    assert (other != first + second).mean() > 0.99


@settings(max_examples=15)
@given(st.integers(0, 2**32))
def test_any_residues_decrypt_to_something_without_a_crash(seed):
    rng = np.random.default_rng(seed)
    for name in ("bfv, one prime", "ckks, one prime"):
        parameters = SETS[name]
        noise = tuple(
            rng.integers(0, prime, (2 * parameters.ciphertexts, parameters.degree), dtype=np.uint64)
            for prime in parameters.data_primes
        )
        noise[0][:, : rng.integers(0, parameters.degree)] = 0
        assert he_seal.decrypt(parameters, bytes(64), noise, count=COUNTS[name]).shape == (COUNTS[name],)


def test_the_secret_follows_from_the_seed_and_the_public_key_from_both():
    parameters = SETS["bfv, one prime"]
    one, two, three = (
        he_seal.public_key(parameters, secret, randomness=randomness)[0].tobytes()
        for secret, randomness in ((b"a" * 64, b"b" * 64), (b"a" * 64, b"b" * 64), (b"a" * 64, b"c" * 64))
    )
    assert one == two != three


def test_parameters_that_the_library_refuses():
    from dataclasses import replace

    with pytest.raises(secagg.PlanError, match="SEAL refuses the parameters"):
        he_seal.public_key(replace(SETS["bfv, one prime"], degree=1024), bytes(64), randomness=bytes(64))
