"""What today's libraries get wrong without raising: the naive way shows it, ours refuses or mends it.

One section a failure. Three are shown where their parts are tested: a new accountant every round in `test_ledger.py`
(`test_a_new_engine_each_round_forgets_what_the_ledger_composes`), fixed-size batches in `test_sampling.py`
(`test_rate_and_spread`), and seeded noise in `test_noise.py` (`test_seeded_noise_is_reproducible_and_so_removable…`).
"""

import pytest
import torch
from opacus import GradSampleModule
from peft import PromptTuningConfig, TaskType, get_peft_model
from torch import nn

from dp.errors import BatchCoupled, NothingTrained, NotPerExample
from dp.noise import SecureGaussian
from dp.oracle import per_example_gradients, refuse_coupled_loss
from dp.persample import refuse_batch_coupled, wrap
from dp.sgd import noisy_sum, plain_sum, require_change
from dp.trial import tried
from tests.contracts.per_example import WithoutNoise

from .models import batch_for, bert, example_losses, t5, with_lora

pytestmark = pytest.mark.filterwarnings("ignore:Full backward hook")  # Opacus' own


def clipped_sum(module, batches, loss, *, clip_norm):
    return noisy_sum(module, batches, loss, clip_norm=clip_norm, noise_multiplier=1.0, noise=WithoutNoise())


def flat(sums):
    return torch.cat([value.flatten() for value in sums.values()])


def added_up(gradients):
    return torch.cat([each.rows()[1:].double().sum(dim=0).flatten() for each in gradients.values()])


def linear_losses(model, batch):
    return nn.functional.mse_loss(model(batch["x"]), batch["y"], reduction="none").mean(dim=1)


@pytest.fixture
def linear():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 2))
    return wrap(model), {"x": torch.randn(12, 6), "y": torch.randn(12, 2)}


# 1. A parameter broadcast over the batch is clipped as one example.


class SharedPrompt(nn.Module):
    """Virtual tokens as PEFT has them: looked up once, repeated for the batch."""

    def __init__(self):
        super().__init__()
        self.prompt = nn.Embedding(2, 3)

    def forward(self, x):
        tokens = self.prompt(torch.arange(2)[None]).repeat(x.shape[0], 1, 1)
        return (tokens * x[:, None]).sum(dim=(1, 2))


def first_power(model, x):
    return model(x)


def opacus_clipped_sum(x, clip_norm):
    torch.manual_seed(0)
    naive = GradSampleModule(SharedPrompt(), loss_reduction="sum")
    first_power(naive, x).sum().backward()
    rows = naive.prompt.weight.grad_sample
    norms = rows.flatten(1).norm(dim=1)
    return rows.shape[0], torch.einsum("b,bij->ij", (clip_norm / norms).clamp(max=1), rows)


def test_a_shared_prompt_is_one_example_to_opacus_and_moves_the_sum_by_twice_the_clip_norm():
    x = torch.ones(4, 3)
    worse = torch.cat([x, torch.full((1, 3), -100.0)])
    (rows, before), (_, after) = opacus_clipped_sum(x, 1.0), opacus_clipped_sum(worse, 1.0)
    assert rows == 1
    assert (after - before).norm() == pytest.approx(2.0, rel=1e-4)
    module = wrap(SharedPrompt())
    with pytest.raises(NotPerExample, match="shared over the batch"):
        clipped_sum(module, [x], first_power, clip_norm=1.0)
    mended = tried(module, x[:2] * torch.tensor([[1.0], [2.0]]), first_power, physical_batch=4)
    assert mended.strategy.name == "microbatches"
    assert "shared over the batch" in mended.reason
    moved = [flat(clipped_sum(mended, [data], first_power, clip_norm=1.0).sums) for data in (x, worse)]
    assert (moved[1] - moved[0]).norm() == pytest.approx(1.0, rel=1e-4)


def test_pefts_own_prompt_model_is_trained_in_batches_of_one():
    torch.manual_seed(0)
    config = PromptTuningConfig(task_type=TaskType.SEQ_CLS, num_virtual_tokens=3)
    model, batch = get_peft_model(bert()[0], config).eval(), batch_for("bert")
    with pytest.raises(NotPerExample, match="shared over the batch"):
        clipped_sum(wrap(model), [batch], example_losses, clip_norm=1.0)
    assert tried(wrap(model), batch, example_losses, physical_batch=5).strategy.name == "microbatches"


def test_relative_positions_of_t5_are_trained_in_batches_of_one():
    model = t5()[0].eval()
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("relative_attention_bias" in name)
    with pytest.raises(NotPerExample, match="shared over the batch"):
        clipped_sum(wrap(model), [batch_for("t5")], example_losses, clip_norm=1.0)
    assert tried(wrap(model), batch_for("t5"), example_losses, physical_batch=5).strategy.name == "microbatches"


# 2. A loss that averages over the batch couples its examples.


def token_mean(model, batch):
    """What Hugging Face returns for sequence-to-sequence models: one mean over all target tokens of the batch."""
    return model(**batch).loss


def token_mean_for_each(model, batch):
    """The same coupling in disguise: it has the right shape, but each value depends on everybody's length."""
    logits = model(**batch).logits.float()
    tokens = nn.functional.cross_entropy(logits.transpose(1, 2), batch["labels"], reduction="none", ignore_index=-100)
    return tokens.sum(dim=1) / (batch["labels"] != -100).sum() * len(batch["labels"])


def test_a_batch_coupled_loss_moves_the_others_and_is_refused():
    model, batch = with_lora("t5"), batch_for("t5")
    module = wrap(model)
    longer = {**batch, "labels": batch["labels"].clone()}
    longer["labels"][0] = torch.tensor([5, 6, 7, 8, 9, 10])
    shorter = {**batch, "labels": batch["labels"].clone()}
    shorter["labels"][0] = torch.tensor([5, -100, -100, -100, -100, -100])

    def others(loss, of):
        found = module.strategy.gradients(model, of, loss)[1]
        return added_up(found)

    moved = (others(token_mean_for_each, longer) - others(token_mean_for_each, shorter)).norm()
    assert moved > 0.1 * others(token_mean_for_each, longer).norm()
    fixed = (others(example_losses, longer) - others(example_losses, shorter)).norm()
    assert fixed < 1e-5 * others(example_losses, longer).norm()
    with pytest.raises(NotPerExample, match=r"not \(batch,\)"):
        clipped_sum(module, [batch], token_mean, clip_norm=1.0)
    with pytest.raises(BatchCoupled, match="other examples"):
        refuse_coupled_loss(model, batch, token_mean_for_each)
    with pytest.raises(BatchCoupled):
        refuse_coupled_loss(model, batch, token_mean)
    refuse_coupled_loss(model, batch, example_losses)


# 3. Layers that mix the examples of a batch; dropout masks.


def test_batch_norm_lets_one_example_move_the_others_gradients():
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.BatchNorm1d(3, affine=False), nn.Linear(3, 1)), torch.randn(4, 3)
    changed = torch.cat([x[:3], 10 * x[3:]])
    others = []
    for data in (x, changed):
        naive = nn.Sequential(nn.BatchNorm1d(3, affine=False), model[1])
        others.append(torch.autograd.grad(naive(data)[:3].sum(), naive[1].weight)[0])
    assert (others[0] - others[1]).norm() > 0.1 * others[0].norm()
    with pytest.raises(BatchCoupled, match="BatchNorm1d"):
        wrap(model)


def test_batch_norm_is_refused_unless_frozen_in_evaluation_mode():
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Linear(3, 1))
    model[1].requires_grad_(False)
    with pytest.raises(BatchCoupled, match="BatchNorm1d"):
        wrap(model)
    model[1].eval()
    refuse_batch_coupled(model)
    truth = per_example_gradients(model, torch.randn(4, 3), lambda of, x: of(x)[:, 0])
    assert len(truth) == 4
    with pytest.raises(BatchCoupled):
        refuse_batch_coupled(nn.BatchNorm1d(3, track_running_stats=False).eval())


def test_batch_norm_that_wakes_up_later_is_refused():
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3, affine=False), nn.Linear(3, 1)).eval()
    module = wrap(model)
    model.train()
    with pytest.raises(BatchCoupled):
        clipped_sum(module, [torch.randn(4, 3)], lambda of, x: of(x)[:, 0], clip_norm=1.0)


def test_dropout_masks_are_each_examples_own():
    torch.manual_seed(0)
    x = torch.ones(2, 400)
    shared = x * torch.bernoulli(torch.full((1, 400), 0.5))
    assert torch.equal(*shared), "a mask of shape (1, …) is one for all"
    one, other = nn.Dropout(0.5)(x)
    assert 0.3 < (one != other).float().mean() < 0.7


# 4. A run that trains nothing, while ε accrues.


def test_a_first_step_that_changed_nothing_is_noticed():
    """As in opacus #820 and peft #3409: the optimiser holds other parameters than the ones that were trained."""
    model, stale = nn.Linear(3, 1), nn.Linear(3, 1)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    found = plain_sum(wrap(model), [torch.randn(4, 3)], lambda of, x: of(x)[:, 0])
    for name, p in model.named_parameters():
        p.grad = found.sums[name]
    torch.optim.SGD(stale.parameters(), lr=1.0).step()
    with pytest.raises(NothingTrained, match="first step"):
        require_change(before, dict(model.named_parameters()))
    torch.optim.SGD(model.parameters(), lr=1.0).step()
    require_change(before, dict(model.named_parameters()))
    with pytest.raises(NothingTrained, match="different parameters"):
        require_change(before, {"other": torch.zeros(1)})


# 6. Steps that get lost with empty samples.


def test_an_empty_sample_still_sends_noise_where_a_naive_loop_loses_the_step(linear):
    module, _ = linear
    naive = {name: torch.zeros_like(p) for name, p in module.trainable().items()}
    for _ in []:
        naive = {}
    assert not flat(naive).any()
    released = noisy_sum(module, [], linear_losses, clip_norm=1.0, noise_multiplier=1.0, noise=SecureGaussian())
    assert list(released.sums) == list(module.trainable())
    assert (flat(released.sums) != 0).all()
    assert released.private.examples == 0


# 7. NaN and infinity pass through clipping.


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_non_finite_example_contributes_nothing_where_opacus_passes_it_on(linear, bad):
    module, batch = linear
    poisoned = {"x": batch["x"].clone(), "y": batch["y"].clone()}
    poisoned["y"][3] = bad
    others = {key: value[torch.arange(12) != 3] for key, value in batch.items()}
    layer = nn.Linear(6, 2)
    naive = GradSampleModule(layer, loss_reduction="sum")
    linear_losses(naive, poisoned).sum().backward()
    factors = (1.0 / (layer.weight.grad_sample.flatten(1).norm(dim=1) + 1e-6)).clamp(max=1)
    clipped = torch.einsum("b,bij->ij", factors, layer.weight.grad_sample)
    assert not torch.isfinite(clipped).all()
    found = clipped_sum(module, [poisoned], linear_losses, clip_norm=1.0)
    assert torch.allclose(flat(found.sums), flat(clipped_sum(module, [others], linear_losses, clip_norm=1.0).sums))
    assert (found.private.examples, found.private.non_finite) == (12, 1)


# 9. Position ids of shape (1, length).


class WithPositions(nn.Module):
    """As Hugging Face does it: position ids of shape (1, length) are broadcast over the batch."""

    def __init__(self):
        super().__init__()
        self.positions = nn.Embedding(8, 4)
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        return self.head(x + self.positions(torch.arange(x.shape[1])[None]))


def test_a_parameter_shared_over_the_batch_is_refused():
    naive = GradSampleModule(WithPositions(), loss_reduction="sum")
    naive(torch.randn(3, 5, 4)).sum().backward()
    assert naive.positions.weight.grad_sample.shape[0] == 1
    with pytest.raises(NotPerExample, match="shared over the batch"):
        clipped_sum(wrap(WithPositions()), [torch.randn(3, 5, 4)], lambda of, x: of(x).sum(dim=(1, 2)), clip_norm=1.0)
