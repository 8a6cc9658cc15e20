"""Distributed against central noise at equal guaranteed honest survivors: error of the mean, accuracy, time to encode.

The reference is the central Gaussian that the *same* accountant asks for; the last column takes the tightest (PRV). The
sum holds exactly the guaranteed honest shares, so that both sides have the same number of honest survivors.

Run: python benchmarks/distributed_noise.py [--quick]
"""

import argparse
import time
from dataclasses import dataclass

import numpy as np

import dp
from dp.distributed.calibrate import Cohort, SharePlan, calibrate
from dp.distributed.hadamard import Rotation
from dp.distributed.shares import noised_contribution, read_mean, wrap
from dp.distributed.words import SecureWords
from dp.errors import UnreachableBudget

DELTA, BITS = 1e-5, 16
FAMILIES = (("discrete_gaussian", "prv"), ("discrete_gaussian", "rdp"), ("skellam", "rdp"))


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One row of the table."""

    epsilon: float
    rounds: int
    clients: int
    honest: int
    dim: int

    def plan(self, family: str, accountant: str) -> SharePlan:
        """The calibrated mechanism at 16 bits."""
        return calibrate(
            family=family,
            epsilon=self.epsilon,
            delta=DELTA,
            steps=self.rounds,
            cohort=Cohort(clients=self.clients, honest=self.honest),
            dim=self.dim,
            bits=BITS,
            accountant=accountant,
        )

    def central(self, accountant: str) -> float:
        """σ of the sum's noise, in clip norms, that a trusted server would add."""
        return dp.noise_multiplier(
            epsilon=self.epsilon, delta=DELTA, sample_rate=1.0, steps=self.rounds, accountant=accountant
        )


def measured_error(setting: Setting, plan: SharePlan, *, seed: int) -> float:
    """Mean squared error per coordinate of the sum of `honest` clients' vectors, rounding and wrap included."""
    rng = np.random.default_rng(seed)
    rotation = Rotation(dim=setting.dim, seed=seed.to_bytes(4, "big"))
    total, exact = np.zeros(setting.dim, dtype=np.int64), np.zeros(setting.dim)
    for _ in range(setting.honest):
        vector = rng.standard_normal(setting.dim) + 0.5
        vector /= np.linalg.norm(vector)
        exact += vector
        total += noised_contribution(plan, vector, clip_norm=1.0, rotation=rotation, rng=rng, source=SecureWords())
    found = read_mean(plan, wrap(total, bits=plan.bits).astype(float), clip_norm=1.0, rotation=rotation)
    return float(np.mean((found - exact) ** 2))


def show_errors(settings: list[Setting], seeds: int) -> None:
    print("mean squared error of the sum over that of central noise, at equal guaranteed honest survivors, 16 bits")
    print(f"{'setting':36} {'family':18} accountant  planned  measured ± standard error  against central PRV")
    for setting in settings:
        for family, accountant in FAMILIES:
            name = f"ε={setting.epsilon:g} T={setting.rounds} n={setting.clients} h={setting.honest} d={setting.dim}"
            try:
                plan = setting.plan(family, accountant)
            except UnreachableBudget:
                print(f"{name:36} {family:18} {accountant:11} refused: does not fit 16 bits")
                continue
            reference = setting.central(accountant) ** 2
            errors = [measured_error(setting, plan, seed=seed) / reference for seed in range(seeds)]
            spread = np.std(errors, ddof=1) / seeds**0.5
            tight = reference / setting.central("prv") ** 2
            planned = plan.noise_multiplier**2 / reference
            print(
                f"{name:36} {family:18} {accountant:11} {planned:7.4f}  {np.mean(errors):7.4f} ± {spread:.4f}"
                f"            {np.mean(errors) * tight:7.4f}"
            )


def task(rng: np.random.Generator, clients: int, dim: int) -> tuple[list[tuple[np.ndarray, np.ndarray]], tuple]:
    """A federated logistic regression: each client has 40 examples of a task with one public direction."""
    direction = rng.standard_normal(dim) / dim**0.5
    features = rng.standard_normal((clients, 40, dim))
    labels = (features @ direction + 0.3 * rng.standard_normal((clients, 40)) > 0).astype(float)
    test = rng.standard_normal((4000, dim))
    return list(zip(features, labels, strict=True)), (test, (test @ direction > 0).astype(float))


def accuracy(setting: Setting, plan: SharePlan | None, sigma: float, *, seed: int) -> float:
    """Test accuracy after `rounds` rounds of clipped client updates under shares, or central noise `sigma`."""
    rng = np.random.default_rng(seed)
    holders, (test, answers) = task(np.random.default_rng(1000 + seed), setting.honest, setting.dim)
    weights = np.zeros(setting.dim)
    for number in range(setting.rounds):
        updates = []
        for features, labels in holders:
            gradient = features.T @ (labels - 1 / (1 + np.exp(-features @ weights))) / len(labels)
            updates.append(gradient / max(1.0, np.linalg.norm(gradient)))
        if plan is None:
            summed = np.sum(updates, axis=0) + sigma * rng.standard_normal(setting.dim)
        else:
            rotation = Rotation(dim=setting.dim, seed=bytes([seed, number]))
            integers = sum(
                noised_contribution(plan, update, clip_norm=1.0, rotation=rotation, rng=rng, source=SecureWords())
                for update in updates
            )
            wrapped = wrap(integers, bits=plan.bits).astype(float)
            summed = read_mean(plan, wrapped, clip_norm=1.0, rotation=rotation)
        weights += 2.0 * summed / setting.honest
    return float(np.mean((test @ weights > 0) == answers))


def show_accuracy(setting: Setting, seeds: int) -> None:
    print(f"\naccuracy of a federated logistic regression, {seeds} seeds, {setting}")
    for family, accountant in FAMILIES:
        plan, sigma = setting.plan(family, accountant), setting.central(accountant)
        shares = [accuracy(setting, plan, 0.0, seed=seed) for seed in range(seeds)]
        central = [accuracy(setting, None, sigma, seed=seed) for seed in range(seeds)]
        error = np.std(np.subtract(shares, central), ddof=1) / seeds**0.5
        print(
            f"{family:18} {accountant:4} shares {np.mean(shares):.4f}  central {np.mean(central):.4f}  "
            f"difference {np.mean(shares) - np.mean(central):+.4f} ± {error:.4f}"
        )


def show_time(dim: int) -> None:
    print(f"\ntime of one client to clip, rotate, round, draw its share and wrap, d = {dim}, one thread, best of 5")
    setting = Setting(epsilon=8, rounds=24, clients=10, honest=8, dim=dim)
    for family, accountant in FAMILIES[1:]:
        plan, vector = setting.plan(family, accountant), np.random.default_rng(0).standard_normal(dim)
        seconds = []
        for seed in range(5):
            started = time.perf_counter()
            noised_contribution(
                plan,
                vector,
                clip_norm=1.0,
                rotation=Rotation(dim=dim, seed=bytes([seed])),
                rng=np.random.default_rng(seed),
                source=SecureWords(),
            )
            seconds.append(time.perf_counter() - started)
        print(f"{family:18} {1000 * min(seconds):.0f} ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer seeds and settings")
    quick = parser.parse_args().quick
    settings = [
        Setting(epsilon=8, rounds=24, clients=10, honest=8, dim=10_000),
        Setting(epsilon=8, rounds=24, clients=10, honest=8, dim=100_000),
        Setting(epsilon=8, rounds=24, clients=100, honest=80, dim=100_000),
        Setting(epsilon=3, rounds=24, clients=10, honest=8, dim=10_000),
        Setting(epsilon=1, rounds=24, clients=10, honest=8, dim=1_000),
        Setting(epsilon=1, rounds=24, clients=10, honest=8, dim=100_000),
    ]
    show_errors(settings[:2] if quick else settings, 3 if quick else 5)
    show_accuracy(Setting(epsilon=8, rounds=12, clients=60, honest=50, dim=100), 3 if quick else 12)
    show_time(100_000)


if __name__ == "__main__":
    main()
