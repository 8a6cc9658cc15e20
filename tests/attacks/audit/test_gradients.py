import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

import dp.noise
import dp.strategies
from attacks import AttackError
from attacks.audit.canaries import OVERSIZE, CanaryBackbone, plant
from attacks.audit.gradients import likelihood_ratios, play_gradient_canaries
from attacks.audit.replay import count_problems
from fedpeft_secure.allocation.allotment import Allotment
from fedpeft_secure.clients import training
from fedpeft_secure.clients.training import LocalTask, LocalUpdate
from fedpeft_secure.errors import ConfigError
from fedpeft_secure.server.federation import Federation
from tests.attacks.audit.conftest import OpenFederation

FULL = {"training.sample_rate": 1.0, "training.rounds": 1, "privacy.epsilon": 10.0}


def planted(federation: OpenFederation, overrides: dict[str, object] | None = None) -> CanaryBackbone:
    parties = federation(overrides)
    return plant_in(parties, 200, Allotment(client="client-1"))


def plant_in(parties: Federation, count: int, allotment: Allotment) -> CanaryBackbone:
    rng = np.random.default_rng(0)
    return plant(parties.backbone, parties.trained, allotment=allotment, count=count, clip_norm=1.0, rng=rng)


def test_canaries_lie_in_the_part_that_the_client_trains(federation: OpenFederation) -> None:
    parties = federation()
    small = plant_in(parties, 50, Allotment(client="client-1", rank=2, layers=1, targets=("query",)))
    # the top layer's query: two of eight slots of A (8 × 32) and of B (32 × 8); and the head (2 × 32, and 2 biases)
    assert small.canaries.coordinates.size + small.canaries.silent.size == 2 * 32 + 32 * 2 + 66
    sizes = {entry.name: entry.size for entry in parties.trained.entries}
    names = np.repeat(list(sizes), list(sizes.values()))
    assert all("layer.1" in name or "classifier" in name for name in names[small.canaries.coordinates])


@pytest.mark.parametrize("method", ["lora", "bitfit", "prefix"])
def test_a_canary_gradient_is_its_coordinate_alone(federation: OpenFederation, method: str) -> None:
    strategy = "fedit" if method == "lora" else "auto"
    model = planted(federation, {"peft.method": method, "aggregation.strategy": strategy})
    assert (model.per_example.strategy.name == "hooks") == (method == "lora")
    everything = np.ones(200, dtype=bool)
    canaries = dataclasses.replace(model.canaries, included=everything)
    some = np.array([0, 7, 100])
    batch = next(model.batches(canaries.examples(), some, batch_size=8))
    clipped = model.per_example.strategy.clip(model.model, batch, model.losses, clip_norm=1.0)
    vector = torch.cat([clipped.sums[name].reshape(-1) for name in sorted(clipped.sums)])
    assert clipped.norms.tolist() == pytest.approx([OVERSIZE] * 3)
    assert vector.count_nonzero() == 3
    assert vector[model.canaries.coordinates[some]].tolist() == pytest.approx([1.0] * 3, abs=1e-5)


def test_coins_are_fair_and_only_winners_become_examples(federation: OpenFederation) -> None:
    canaries = planted(federation).canaries
    assert 70 <= canaries.included.sum() <= 130
    assert [ids[0] for ids in canaries.examples().token_ids] == np.flatnonzero(canaries.included).tolist()
    assert np.unique(canaries.coordinates).size == 200
    assert canaries.examples().groups is None
    assert set(canaries.examples(group=1).groups) == {1}  # type: ignore[arg-type]


def test_more_canaries_than_coordinates_are_refused(federation: OpenFederation) -> None:
    parties = federation()
    for count in (1, parties.trained.size + 1):
        with pytest.raises(ConfigError, match="--canaries"):
            plant_in(parties, count, Allotment(client="client-1"))


def test_scores_are_exact_log_likelihood_ratios(federation: OpenFederation) -> None:
    """One step at rate 1 is a Gaussian pair; at rate q the mixture; two steps a binomial number of times."""
    plan = federation().agreed
    one = plan.model_copy(update={"sample_rate": 1.0, "nominal_batch": 1.0, "local_steps": 1})
    values = np.array([-1.0, 0.0, 0.5, 2.0])
    assert likelihood_ratios(values, noise=2.0, plan=one) == pytest.approx((values - 0.5) / 4)
    rare = one.model_copy(update={"sample_rate": 0.2})
    ratio = np.exp((values - 0.5) / 4)
    assert likelihood_ratios(values, noise=2.0, plan=rare) == pytest.approx(np.log(0.8 + 0.2 * ratio))
    twice = rare.model_copy(update={"local_steps": 2})
    both = 0.64 + 0.32 * ratio + 0.04 * np.exp((2 * values - 2) / 4)
    assert likelihood_ratios(values, noise=2.0, plan=twice) == pytest.approx(np.log(both))


def test_the_client_is_its_own_and_every_step_is_charged(federation: OpenFederation) -> None:
    parties = federation({"training.local_steps": 2})
    played = play_gradient_canaries(parties, client="client-2", count=100)
    history = parties.ledger.history("client-2")
    assert [charge.release.round for charge in history] == [1, 2, 3, 4]
    assert played.sent.shape == (4, parties.trained.size)
    assert played.tally.samples == 8
    tensors = len(parties.trained.entries)
    assert count_problems(played.tally, history, plan=played.plan, tensors=tensors) == ()
    assert parties.ledger.history("client-1") == ()
    assert parties.clients["client-2"].examples_processed == 0, "the run's own client is untouched"


@pytest.mark.slow
def test_groups_of_budgets_are_audited_at_the_highest_rate(federation: OpenFederation) -> None:
    groups = {"strict": {"epsilon": 1.0, "share": 0.5}, "open": {"epsilon": 4.0, "share": 0.5}}
    parties = federation({"privacy.groups": groups, "privacy.accountant": "rdp"})
    played = play_gradient_canaries(parties, client="client-1", count=60)
    tensors = len(parties.trained.entries)
    history = parties.ledger.history("client-1")
    assert count_problems(played.tally, history, plan=played.plan, tensors=tensors) == ()


def test_an_uncharged_step_is_noticed(federation: OpenFederation, monkeypatch: pytest.MonkeyPatch) -> None:
    from fedpeft_secure.clients import trainer

    def twice(backbone, state, examples, task: LocalTask) -> LocalUpdate:
        longer = dataclasses.replace(task, plan=task.plan.model_copy(update={"local_steps": 2}))
        return training.train_locally(backbone, state, examples, longer)

    monkeypatch.setattr(trainer, "train_locally", twice)
    parties = federation()
    played = play_gradient_canaries(parties, client="client-1", count=60)
    history = parties.ledger.history("client-1")
    problems = count_problems(played.tally, history, plan=played.plan, tensors=len(parties.trained.entries))
    assert problems[0] == "the client took 8 steps, its ledger was charged for 4"


def test_a_step_without_noise_is_noticed(federation: OpenFederation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "_private_gradient", training._plain_gradient)
    parties = federation()
    played = play_gradient_canaries(parties, client="client-1", count=60)
    history = parties.ledger.history("client-1")
    problems = count_problems(played.tally, history, plan=played.plan, tensors=len(parties.trained.entries))
    assert problems == ("the client drew noise for 0 steps, its ledger was charged for 4",)


@pytest.mark.parametrize("strategy", ["rolora", "fedper", "fedsa", "flexlora"])
def test_strategies_that_send_something_else_than_they_train_are_refused(
    strategy: str, federation: OpenFederation
) -> None:
    straight = {"training.server_optimizer": "sgd", "training.server_learning_rate": 1.0}
    parties = federation({"aggregation.strategy": strategy, **straight})
    with pytest.raises(AttackError, match=f"'{strategy}' does not send the whole changes of all that clients train"):
        play_gradient_canaries(parties, client="client-1", count=20)


def test_a_refused_round_is_an_error(federation: OpenFederation) -> None:
    parties = federation()
    parties.clients["client-1"].budget = dataclasses.replace(parties.clients["client-1"].budget, epsilon=1e-3)
    with pytest.raises(AttackError, match="round 1"):
        play_gradient_canaries(parties, client="client-1", count=60)


def test_scores_separate_as_the_mechanism_allows(federation: OpenFederation) -> None:
    """One whole-batch release: AUC = Φ(1 / (σ√2))."""
    from scipy.special import ndtr

    from attacks.membership import separation

    parties = federation(FULL)
    scored = play_gradient_canaries(parties, client="client-1", count=1000).scored
    sigma = parties.budgets[0].noise_multiplier
    found = separation(scored.scores[scored.included], scored.scores[~scored.included])
    assert found.auc == pytest.approx(ndtr(1 / (sigma * 2**0.5)), abs=0.04)


def quarter(self: dp.noise.SeededGaussian, shape: Sequence[int], stddev: float) -> Tensor:
    return torch.from_numpy(np.asarray(self._rng.standard_normal(tuple(shape)) * stddev / 4))


@pytest.mark.parametrize("broken", ["noise", "clipping", "nothing"])
def test_the_audit_sees_what_the_mechanism_really_does(
    federation: OpenFederation, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    from attacks.audit.claim import Claim
    from attacks.audit.replay import as_gaussians
    from attacks.audit.verdict import lower_bounds

    if broken == "noise":
        monkeypatch.setattr(dp.noise.SeededGaussian, "draw", quarter)
    if broken == "clipping":
        monkeypatch.setattr(
            dp.strategies, "clip_factors", lambda norms, *, clip_norm: torch.ones_like(norms, dtype=torch.float32)
        )
    parties = federation({"training.sample_rate": 0.9, "secure_sum.clip": 2.0})
    played = play_gradient_canaries(parties, client="client-1", count=1000)
    spent = parties.ledger.spent("client-1", delta=1e-5, accountant="rdp")
    claim = Claim(events=as_gaussians(tuple(c.event for c in parties.ledger.history("client-1"))), spent=spent)
    binding = [bound.epsilon for bound in lower_bounds(played.scored, claim, alpha=1e-3) if bound.binding]
    assert (max(binding) > spent.epsilon) == (broken != "nothing")
