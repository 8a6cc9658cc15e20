"""What every secure sum must do: equal `PlainSum`, survive drops, refuse what cannot be added up."""

import numpy as np
import pytest

import secagg
from secagg.simulate import SecureSum

NAMES = tuple(f"client-{i}" for i in range(8))


def some_vectors(names=NAMES, *, dim: int = 40, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {name: rng.uniform(-1, 1, dim) for name in names}


class SecureSumContract:
    """Override `make`: from a codec to the protocol under test."""

    def make(self, codec: secagg.FixedPoint) -> SecureSum:
        raise NotImplementedError

    def default(self) -> SecureSum:
        return self.make(secagg.FixedPoint(clip=1.0, bits=16))

    def test_the_mean_is_the_mean(self):
        vectors = some_vectors()
        result = secagg.simulate(self.default(), vectors, seed=1)
        assert result.survivors == tuple(sorted(NAMES))
        assert result.total_weight == len(NAMES)
        assert result.mean.dtype == np.float64
        assert np.abs(result.mean - np.mean(list(vectors.values()), axis=0)).max() < 2 / 32767

    def test_weighted_mean(self):
        vectors, weights = some_vectors(), {name: i * 7 + 1 for i, name in enumerate(NAMES)}
        result = secagg.simulate(self.default(), vectors, weights=weights, seed=1)
        exact = sum(vectors[n] * weights[n] for n in NAMES) / sum(weights.values())
        assert result.total_weight == sum(weights.values())
        assert np.abs(result.mean - exact).max() < 2 * max(weights.values()) / 32767 / np.mean(list(weights.values()))

    @pytest.mark.parametrize("bits", [8, 16, 20])
    @pytest.mark.parametrize("phase", ["advertise", "share", "upload", "confirm", "unmask"])
    def test_equals_the_plain_sum_bit_for_bit(self, phase, bits):
        codec = secagg.FixedPoint(clip=float((1 << (bits - 1)) - 1), bits=bits)  # integers are on the grid: no rounding
        vectors = {name: np.rint(v * codec.clip) for name, v in some_vectors().items()}
        mine, plain = (
            secagg.simulate(protocol, vectors, drop={phase: {"client-3"}}, seed=5)
            for protocol in (self.make(codec), secagg.PlainSum(codec=codec))
        )
        assert mine.survivors == plain.survivors
        assert (mine.integers == plain.integers).all()
        assert (mine.mean == plain.mean).all()
        assert (mine.integers == sum(vectors[name] for name in mine.survivors)).all()

    def test_single_coordinate(self):
        result = secagg.simulate(self.default(), some_vectors(dim=1), seed=1)
        assert result.mean.shape == (1,)

    def test_extremes_do_not_wrap(self):
        for sign in (-1.0, 1.0):
            vectors = {name: np.full(5, sign) for name in NAMES}
            assert secagg.simulate(self.default(), vectors, seed=1).mean.tolist() == [sign] * 5

    @pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
    def test_not_finite_is_refused(self, bad):
        vectors = some_vectors()
        vectors["client-2"][7] = bad
        with pytest.raises(secagg.ProtocolError, match="NaN or infinity"):
            secagg.simulate(self.default(), vectors, seed=1)

    def test_saturation_is_refused(self):
        vectors = some_vectors()
        vectors["client-2"][7] = 1.01
        with pytest.raises(secagg.ProtocolError, match="beyond clip"):
            secagg.simulate(self.default(), vectors, seed=1)

    @pytest.mark.parametrize("weight", [0, -1, 2.5, True, 11])
    def test_weights_out_of_bounds_are_refused(self, weight):
        weights = {**dict.fromkeys(NAMES, 1), "client-1": weight}
        protocol = self.make(secagg.FixedPoint(clip=1.0, bits=16, max_weight=10))
        with pytest.raises(secagg.ProtocolError, match="weight"):
            secagg.simulate(protocol, some_vectors(), weights=weights, seed=1)

    def test_shapes_must_agree(self):
        vectors = {**some_vectors(), "client-1": np.zeros(3)}
        with pytest.raises(secagg.ProtocolError, match="shape"):
            secagg.simulate(self.default(), vectors, seed=1)

    def test_nobody_left(self):
        with pytest.raises(secagg.ProtocolError):
            secagg.simulate(self.default(), some_vectors(), drop={"upload": set(NAMES)}, seed=1)

    def test_the_seed_reproduces(self):
        one, two = (secagg.simulate(self.default(), some_vectors(), seed=9) for _ in range(2))
        assert (one.integers == two.integers).all()

    def test_nothing_is_written(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        secagg.simulate(self.default(), some_vectors(), seed=1)
        assert not list(tmp_path.iterdir())
