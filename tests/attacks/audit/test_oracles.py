"""Agreement with other people's libraries on random inputs.

An optional group: `pytest -m oracles`. jax-privacy and privacyguard-platform are not among the dependencies; their
audit modules are read from where ORACLES says that they lie (a folder that `pip install --no-deps --target` filled).
"""

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from attacks.audit import epsilon_clopper_pearson, epsilon_gdp, epsilon_one_run
from attacks.membership import separation

pytestmark = pytest.mark.oracles


def load(relative: str) -> ModuleType:
    """One file of an oracle, without its package: what the rest of that needs is not installed here."""
    folder = os.environ.get("ORACLES")
    if folder is None or not (Path(folder) / relative).is_file():
        pytest.skip(f"set ORACLES to a folder that holds {relative}")
    name = f"oracle_{Path(relative).stem}"
    spec = importlib.util.spec_from_file_location(name, Path(folder) / relative)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def jax_privacy() -> ModuleType:
    return load("jax_privacy/auditing.py")


def random_counts(rng: np.random.Generator) -> tuple[int, int, int, float]:
    canaries = int(rng.integers(50, 2000))
    guesses = int(rng.integers(10, canaries + 1))
    correct = int(rng.binomial(guesses, rng.uniform(0.55, 1.0)))
    return canaries, guesses, correct, float(rng.choice([1e-6, 1e-5, 1e-4]))


def test_steinke_agrees_with_jax_privacy(jax_privacy: ModuleType) -> None:
    rng = np.random.default_rng(0)
    for _ in range(40):
        canaries, guesses, correct, delta = random_counts(rng)
        ours = epsilon_one_run(canaries=canaries, guesses=guesses, correct=correct, delta=delta)
        p_value = jax_privacy._one_run_p_value
        if ours > 0:
            assert p_value(canaries, guesses, correct, ours - 1e-4, delta) < 0.05
        assert p_value(canaries, guesses, correct, ours + 1e-4, delta) >= 0.05 - 1e-9


def test_clopper_pearson_agrees_with_jax_privacy(jax_privacy: ModuleType) -> None:
    """At a given threshold it searches nothing, and so do we."""
    rng = np.random.default_rng(1)
    for _ in range(20):
        inside, outside = rng.normal(1.0, 1.0, 300), rng.normal(0.0, 1.0, 300)
        auditor = jax_privacy.CanaryScoreAuditor(inside, outside)
        theirs = auditor.epsilon_clopper_pearson(0.05, 1e-5, threshold_strategy=jax_privacy.Explicit(threshold=1.0))
        ours = epsilon_clopper_pearson(
            false_positives=int((outside >= 1.0).sum()),
            false_negatives=int((inside < 1.0).sum()),
            positives=300,
            negatives=300,
            delta=1e-5,
        )
        assert ours == pytest.approx(theirs, abs=1e-4)


def test_fdp_agrees_with_jax_privacy(jax_privacy: ModuleType) -> None:
    rng = np.random.default_rng(2)
    for _ in range(10):
        canaries, guesses, correct, delta = random_counts(rng)
        ours = epsilon_one_run(canaries=canaries, guesses=guesses, correct=correct, delta=delta, bound="fdp")
        theirs = jax_privacy._epsilon_one_run_fdp(0.0, canaries, guesses, correct, 0.05, delta)
        assert ours == pytest.approx(theirs, abs=1e-3)


def test_gdp_agrees_with_jax_privacy(jax_privacy: ModuleType) -> None:
    """Its μ is that of the given threshold, too; its interval is of no concern here."""
    rng = np.random.default_rng(4)
    for _ in range(10):
        fpr, fnr = rng.uniform(0.01, 0.4, 2)
        mu = norm.ppf(1 - fpr) - norm.ppf(fnr)
        ours = epsilon_gdp(fpr=fpr, fnr=fnr, delta=1e-5)
        assert jax_privacy.dp_accounting.get_sigma_gaussian(ours, 1e-5) == pytest.approx(1 / mu, rel=1e-4)


def test_privacyguard_agrees_on_the_area_and_searches_without_correction() -> None:
    """The trap of the facts: where nothing is to be found its ε is far above 0; ours, corrected, is 0."""
    results = load("privacy_guard/analysis/mia/mia_results.py")
    rng, theirs, ours = np.random.default_rng(5), [], []
    for _ in range(10):
        inside, outside = rng.normal(size=300), rng.normal(size=300)
        found = results.MIAResults(torch.from_numpy(inside), torch.from_numpy(outside))
        _, area, epsilon = found.compute_acc_auc_epsilon(1e-5)
        assert separation(inside, outside).auc == pytest.approx(area, abs=1e-3)
        theirs.append(epsilon)
        grid = np.linspace(-2, 2, 50)
        ours.append(
            max(
                epsilon_clopper_pearson(
                    false_positives=int((outside > t).sum()),
                    false_negatives=int((inside <= t).sum()),
                    positives=300,
                    negatives=300,
                    delta=1e-5,
                    thresholds=grid.size,
                )
                for t in grid
            )
        )
    assert np.mean(theirs) > 0.5
    assert max(ours) == 0.0


def test_the_auc_agrees_with_scikit_learn() -> None:
    rng = np.random.default_rng(3)
    for _ in range(20):
        inside, outside = rng.integers(0, 20, 80) / 5 + 1.0, rng.integers(0, 20, 60) / 5
        labels = np.repeat([1, 0], [80, 60])
        theirs = roc_auc_score(labels, np.concatenate([inside, outside]))
        assert separation(inside, outside).auc == pytest.approx(theirs, abs=1e-12)
