import pytest

from secagg import he_noise


@pytest.mark.parametrize(("special", "bfv", "ckks"), [(0, 3 / 2, 3 * 512), (1 << 30, 3, 3 * 1024)])
def test_rounding_that_no_randomness_bounds_is_counted_for_each_client(special, bfv, ckks, monkeypatch):
    """Scaling (BFV) and encoding (CKKS) round each coefficient by up to 1/2; so does a special prime's switch."""
    for variance in ("ERROR_VARIANCE", "TERNARY_VARIANCE", "ROUNDING_VARIANCE"):
        monkeypatch.setattr(he_noise, variance, 0.0)
    size = {"degree": 1024, "clients": 3, "ciphertexts": 2, "special_prime": special}
    assert he_noise.bfv_noise(**size) == bfv
    assert he_noise.ckks_noise(**size) == ckks
