"""What a client says of its data: against a direct computation, and how far one example can move it."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from fedpeft_secure.adapters import AdapterState, Role
from fedpeft_secure.aggregation.context import RoundContext
from fedpeft_secure.aggregation.one_vector import VECTOR
from fedpeft_secure.clients.batches import Examples
from fedpeft_secure.clients.characteristics import Cells, Measurer, example_vectors, noised, probe, summed
from fedpeft_secure.clients.randomness import SecureRandomness
from fedpeft_secure.clients.trainer import Trainer
from fedpeft_secure.methods import named_trainable
from fedpeft_secure.plans import RoundPlan
from fedpeft_secure.seeds import Seed
from fedpeft_secure.server.federation import Federation

SIGMA = 2.0


@pytest.fixture
def trainer(make_federation: Callable[..., Federation], examples: Examples) -> Trainer:
    """A client's, with the ten examples and a noise of its own."""
    trainer = make_federation().clients["client-1"].trainer
    budget = replace(trainer.budget, noise_multiplier=SIGMA)
    return replace(trainer, examples=examples, budget=budget, randomness=SecureRandomness())


@pytest.fixture
def cells(trainer: Trainer) -> Cells:
    return Cells.of(trainer.backbone.spec, targets=("query", "value"), classes=2)


@pytest.fixture
def probed(start: AdapterState, trainer: Trainer) -> AdapterState:
    return probe(start, trainer.backbone.spec, Seed(0))


def by_hand(trainer: Trainer, state: AdapterState, index: int) -> np.ndarray:
    """One example's vector, by autograd on the example alone."""
    model, examples = trainer.backbone.model, trainer.examples
    trainer.backbone.load(state)
    factors = {name: value for name, value in named_trainable(model).items() if "lora_B" in name}
    for value in model.parameters():
        value.requires_grad_(False)
    for value in factors.values():
        value.requires_grad_(True)
    ids = torch.tensor([examples.token_ids[index]])
    logits = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
    loss = -torch.log_softmax(logits, dim=1)[0, int(examples.labels[index])]
    gradients = dict(zip(factors, torch.autograd.grad(loss, list(factors.values())), strict=True))
    norms = [
        next(float(grad.norm()) for name, grad in gradients.items() if f"layer.{layer}." in name and target in name)
        for layer in (0, 1)
        for target in ("query", "value")
    ]
    label = [0.5 * (examples.labels[index] == number) for number in (0, 1)]
    return np.array([np.sqrt(0.75) * norm / np.linalg.norm(norms) for norm in norms] + label)


def test_the_sum_is_that_of_a_direct_computation(trainer: Trainer, cells: Cells, probed: AdapterState) -> None:
    expected = np.stack([by_hand(trainer, probed, index) for index in range(10)])
    assert expected[:, :4].std(axis=0).min() > 0, "examples differ"
    assert np.linalg.norm(expected, axis=1) == pytest.approx([1.0] * 10)
    found = summed(trainer, probed, np.arange(10), cells)
    assert found == pytest.approx(expected.sum(axis=0), rel=1e-4)
    singly = trainer.backbone.per_example.in_microbatches("a test")
    one_by_one = replace(trainer, backbone=replace(trainer.backbone, per_example=singly))
    assert summed(one_by_one, probed, np.arange(10), cells) == pytest.approx(found, rel=1e-4)


def test_a_head_of_zeros_would_show_nothing(trainer: Trainer, cells: Cells, start: AdapterState) -> None:
    heads = [entry.name for entry in trainer.backbone.spec.only((Role.HEAD,)).entries if len(entry.shape) > 1]
    assert all(not start[name].any() for name in heads)
    assert not summed(trainer, start, np.arange(10), cells)[: cells.modules].any()
    assert (
        probe(start, trainer.backbone.spec, Seed(0)).digest() != probe(start, trainer.backbone.spec, Seed(1)).digest()
    )


def test_factors_outside_the_layers_are_not_measured(make_federation: Callable[..., Federation]) -> None:
    """A pooler's dense layer has factors of its own, and is in no layer that could be dealt."""
    federation = make_federation({"peft.targets": ["query", "dense"], "model.pooling": "model"})
    trainer, spec = federation.clients["client-1"].trainer, federation.backbone.spec
    assert any("pooler" in entry.name for entry in spec.only((Role.LORA_B,)).entries)
    cells = Cells.of(spec, targets=("query", "dense"), classes=2)
    total = summed(trainer, probe(federation.start, spec, Seed(0)), np.arange(3), cells)
    assert total.shape == (6,)
    assert np.linalg.norm(total) > 1


def test_an_example_more_or_less_moves_the_sum_by_one_at_most(
    trainer: Trainer, cells: Cells, probed: AdapterState, make_plan: Callable[..., RoundPlan]
) -> None:
    everybody, quiet = np.arange(10), replace(trainer, budget=replace(trainer.budget, noise_multiplier=0.0))
    whole, moves = summed(trainer, probed, everybody, cells), []
    for index in range(10):
        rest = summed(trainer, probed, np.delete(everybody, index), cells)
        moves.append(np.linalg.norm(whole - rest))
        for bound in (3.0, 9.5, 100.0):  # shorter than the sum, about as long, longer
            plan = make_plan(nominal_batch=bound, codec_clip=1.0)
            sent = [bound * noised(total, plan, quiet) for total in (whole, rest)]
            assert np.linalg.norm(sent[0] - sent[1]) <= 1 + 1e-6
            assert max(np.linalg.norm(each) for each in sent) <= bound * (1 + 1e-9)
    assert max(moves) <= 1 + 1e-6
    assert max(moves) > 0.99, "the bound is tight: noise for more would be wasted"


def test_a_gradient_that_is_not_finite_counts_for_nothing(trainer: Trainer, cells: Cells, probed: AdapterState) -> None:
    broken = probed.replace({name: value * np.nan for name, value in probed.values.items() if "classifier" in name})
    assert not summed(trainer, broken, np.arange(10), cells).any()


def test_noise_has_the_configured_size_on_every_coordinate(
    trainer: Trainer, make_plan: Callable[..., RoundPlan]
) -> None:
    plan = make_plan(nominal_batch=50.0, codec_clip=10.0)
    sent = np.stack([noised(np.full(6, 4.0), plan, trainer) for _ in range(1500)])
    assert sent.mean(axis=0) * 50 == pytest.approx([4.0] * 6, abs=0.3)
    deviations = sent.std(axis=0) * 50
    assert ((deviations > 0.9 * SIGMA) & (deviations < 1.1 * SIGMA)).all()
    assert np.abs(np.corrcoef(sent.T) - np.eye(6)).max() < 0.15


def test_what_leaves_the_codecs_range_is_cut(trainer: Trainer, make_plan: Callable[..., RoundPlan]) -> None:
    plan = make_plan(nominal_batch=1.0, codec_clip=0.5)
    assert np.abs(noised(np.full(6, 9.0), plan, trainer)).max() <= 0.5


def test_a_client_looks_at_a_sample_at_the_plans_rate(
    trainer: Trainer, cells: Cells, probed: AdapterState, make_plan: Callable[..., RoundPlan], fixed_sample
) -> None:
    sampler = fixed_sample([1, 4])
    quiet = replace(trainer, budget=replace(trainer.budget, noise_multiplier=0.0), randomness=Fixed(sampler))
    plan = make_plan(sample_rate=0.2, nominal_batch=40.0, codec_clip=2.0, round=0)
    context = RoundContext(plan=plan, spec=trainer.backbone.spec, state=probed)
    found = Measurer(trainers={"client-1": quiet}, cells=cells).train("client-1", context)
    expected = by_hand(trainer, probed, 1) + by_hand(trainer, probed, 4)
    assert found.delta[VECTOR] * 40 == pytest.approx(expected, rel=1e-4)
    assert sampler.asked == [(10, 0.2)]
    assert found.examples == 2


class Fixed(SecureRandomness):
    """Draws the sample that it was told."""

    def __init__(self, sampler: object) -> None:
        object.__setattr__(self, "sampler", sampler)

    def sampling(self, plan: RoundPlan):
        return self.sampler


def test_vectors_of_a_batch_stand_in_its_order(trainer: Trainer, cells: Cells, probed: AdapterState) -> None:
    backbone = trainer.backbone
    summed(trainer, probed, np.arange(2), cells)  # loads the adapter
    (batch,) = backbone.batches(trainer.examples, np.array([1, 2]), batch_size=2)
    vectors = example_vectors(replace(backbone, lower=None), batch, cells)
    assert vectors[:, cells.modules :].argmax(axis=1).tolist() == batch.labels.tolist()
