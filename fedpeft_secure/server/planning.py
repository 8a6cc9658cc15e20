"""Makes the round plan: everything public, from the configuration alone."""

from fedpeft_secure.adapters import AdapterState
from fedpeft_secure.aggregation.base import Strategy
from fedpeft_secure.allocation import choose_cohort
from fedpeft_secure.budgets import ClientBudget
from fedpeft_secure.config import Config
from fedpeft_secure.plans import RoundPlan, codec_clip


def plan_round(
    config: Config,
    *,
    run: str,
    round_number: int,
    attempt: int,
    state: AdapterState,
    strategy: Strategy,
    budgets: tuple[ClientBudget, ...],
) -> RoundPlan:
    """The plan of one round.

    Args:
        config: the run's configuration.
        run: the run's public name.
        round_number: from 1.
        attempt: from 0; another attempt is another release.
        state: the adapter that is sent out.
        strategy: how updates are aggregated.
        budgets: every client's plan; the largest noise decides the codec's range.
    """
    training, sums = config.training, config.secure_sum
    noise = max(budget.noise_multiplier for budget in budgets)
    clip = codec_clip(training, clip_norm=config.privacy.clip_norm, noise_multiplier=noise)
    return RoundPlan(
        run=run,
        round=round_number,
        attempt=attempt,
        cohort=choose_cohort(config, round_number),
        model_hash=state.digest().hex(),
        strategy=strategy.name,
        local_steps=training.local_steps,
        sample_rate=training.sample_rate,
        nominal_batch=training.nominal_batch,
        optimizer=training.optimizer,
        learning_rate=training.learning_rate,
        clip_norm=config.privacy.clip_norm,
        noise_multiplier=noise,
        protocol=sums.protocol,
        malicious_server=sums.server == "malicious",
        min_cohort=sums.min_cohort,
        adversarial_fraction=sums.adversarial_fraction,
        dropout_fraction=sums.dropout_fraction,
        codec_clip=clip if sums.clip == "auto" else sums.clip,
        codec_bits=sums.bits,
        private=budgets[0].private,
    )
