import itertools
import math

import numpy as np
import pytest

import secagg
from secagg import he_seal
from secagg.he_noise import bfv_noise, ckks_noise, tail, transform_error
from secagg.he_parameters import (
    MAX_MODULUS_BITS,
    bfv_parameters,
    ckks_parameters,
    is_prime,
    polynomial_bytes,
    prime_above,
)

CASES = [
    (count, clients, bits)
    for count, clients, bits in itertools.product((1, 40, 22_500, 100_000), (2, 8, 100, 1000), (4, 8, 16, 20))
]


def chosen(count, clients, bits):
    return [secagg.he_parameters_for(scheme, count=count, clients=clients, bits=bits) for scheme in ("bfv", "ckks")]


def test_the_table_of_the_homomorphic_encryption_standard():
    """Albrecht et al. 2018, table 1: ternary secret, classical, 128 bits."""
    assert MAX_MODULUS_BITS == {1024: 27, 2048: 54, 4096: 109, 8192: 218, 16384: 438, 32768: 881}
    api = he_seal.seal()
    for degree, bits in MAX_MODULUS_BITS.items():
        assert api.CoeffModulus.MaxBitCount(degree, api.SEC_LEVEL_TYPE.TC128) == bits


@pytest.mark.parametrize(("count", "clients", "bits"), CASES)
def test_every_choice_is_secure_exact_and_no_larger_than_it_must_be(count, clients, bits):
    largest = (1 << (bits - 1)) - 1
    for found in chosen(count, clients, bits):
        assert found.modulus_bits <= MAX_MODULUS_BITS[found.degree]
        assert found.ciphertexts * found.slots * found.per_slot >= count
        assert all(is_prime(p) and p % (2 * found.degree) == 1 and p.bit_length() <= 60 for p in found.key_primes)
        assert len(set(found.key_primes)) == len(found.key_primes)
        modulus = math.prod(found.data_primes)
        noise = {"bfv": bfv_noise, "ckks": ckks_noise}[found.scheme](
            degree=found.degree, clients=clients, ciphertexts=found.ciphertexts, special_prime=found.special_prime
        )
        if found.scheme == "bfv":
            assert found.plain_modulus > 1 << found.digit_bits * found.per_slot
            assert found.plain_modulus.bit_length() <= 60
            assert noise <= modulus / (4 * found.plain_modulus)
        else:
            reach = math.sqrt(2) * clients * largest
            assert noise / found.scale + transform_error(degree=found.degree, largest=reach) < 0.5
            assert 2 * (reach * found.scale + noise) < modulus
        shorter = modulus >> 3
        assert found.upload_bytes == 2 * found.ciphertexts * polynomial_bytes(found.data_primes, degree=found.degree)
        if found.scheme == "bfv":
            assert noise > shorter / (4 * found.plain_modulus)


def test_the_figures_of_100_000_values_and_100_clients():
    bfv, ckks = chosen(100_000, 100, 16)
    assert bfv.upload_bytes / 400_000 < 3
    assert ckks.upload_bytes / 400_000 < 7.8
    assert (bfv.degree, bfv.per_slot, bfv.modulus_bits) == (4096, 2, 89)
    assert bfv.summary.startswith("degree 4096, modulus 59 bits, 30 more inside the key, t of 47 bits, 2 values a slot")
    assert "scale 19" in ckks.summary


@pytest.mark.parametrize("scheme", ["bfv", "ckks"])
def test_measured_noise_stays_far_below_its_bound_and_is_of_its_kind(scheme):
    """The largest noise of a few sums is below the bound for 2^-41, and not far below: the formula is alive."""
    clients, count = 6, 2000
    found = secagg.he_parameters_for(scheme, count=count, clients=clients, bits=16)
    entropy = secagg.seeded_entropy(b"noise")
    seed = entropy(64)
    public = he_seal.public_key(found, seed, randomness=entropy(64))
    total = None
    for _ in range(clients):
        part = he_seal.encrypt(found, public, np.zeros(count, dtype=np.int64), entropy=entropy)
        if total is None:
            total = part
        else:
            secagg.he_wire.add_polynomials(total, part, primes=found.data_primes)
    api, context = he_seal.seal(), he_seal._context(found)
    data = he_seal._serialised(
        tuple(array[:2] for array in total),
        parms_id=context.first_parms_id(),
        is_ntt=scheme == "ckks",
        scale=float(found.scale or 1),
    )
    ciphertext = he_seal._loaded(api.Ciphertext(), context, data)
    decryptor = api.Decryptor(context, he_seal.secret_key(found, seed))
    arguments = {"degree": found.degree, "clients": clients, "ciphertexts": found.ciphertexts, "special_prime": 0}
    if found.special_prime:
        arguments["special_prime"] = found.special_prime
    if scheme == "bfv":
        bits_left = decryptor.invariant_noise_budget(ciphertext)
        measured = math.prod(found.data_primes) / (2 * found.plain_modulus) / 2**bits_left
        bound = bfv_noise(**arguments)
        assert bound / 100 < measured < 2 * bound
    else:
        plaintext = api.Plaintext()
        decryptor.decrypt(ciphertext, plaintext)
        slots = np.array(api.CKKSEncoder(context).decode_complex(plaintext)) * found.scale
        measured, bound = np.abs([slots.real, slots.imag]).max(), ckks_noise(**arguments)
        assert bound / 1000 < measured < bound


def test_bounds_grow_with_clients_and_fail_less_than_they_promise():
    assert 2 * math.exp(-(tail(1000) ** 2) / 2) * 1000 <= 2.0**-41 * 1.0001
    for noise in (bfv_noise, ckks_noise):
        sizes = [noise(degree=4096, clients=n, ciphertexts=2, special_prime=0) for n in (1, 4, 16)]
        assert sizes == sorted(sizes)
        with_prime = noise(degree=4096, clients=4, ciphertexts=2, special_prime=1 << 30)
        assert with_prime < sizes[1]


def test_sums_too_wide_for_the_transforms_or_the_table():
    with pytest.raises(secagg.PlanError, match=r"carry sums of 44 bits exactly; lower secure_sum.bits"):
        ckks_parameters(count=10, clients=2000, largest=1 << 31, digit_bits=44)
    with pytest.raises(secagg.PlanError, match="carry sums of 60 bits"):
        bfv_parameters(count=10, clients=2, digit_bits=60)


def test_primes():
    sieve = [n for n in range(2, 2000) if all(n % d for d in range(2, math.isqrt(n) + 1))]
    assert [n for n in range(2000) if is_prime(n)] == sieve
    for strong in (3215031751, 3825123056546413051, 25326001, 2152302898747):  # fool few bases
        assert not is_prime(strong)
    assert is_prime((1 << 61) - 1)
    assert prime_above(1 << 20, degree=2048) % 4096 == 1
