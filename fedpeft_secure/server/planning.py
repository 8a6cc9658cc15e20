"""Makes the round plan: everything public, from the configuration alone."""

from fedpeft_secure.adapters import AdapterState
from fedpeft_secure.aggregation.round_strategy import RoundStrategy
from fedpeft_secure.aggregation.rules import counts_alike
from fedpeft_secure.allocation import Allotment, choose_cohort, deal_allotments
from fedpeft_secure.budgets import ClientBudget, clip_norm_of, divisor
from fedpeft_secure.config import Config
from fedpeft_secure.plans import GroupRate, OwnTerms, RoundPlan, codec_clip


def plan_round(
    config: Config,
    *,
    run: str,
    round_number: int,
    attempt: int,
    state: AdapterState,
    strategy: RoundStrategy,
    budgets: tuple[ClientBudget, ...],
    gone: frozenset[str] = frozenset(),
    clip_norm: float | None = None,
    allotments: tuple[Allotment, ...] | None = None,
) -> RoundPlan:
    """The plan of one round.

    Args:
        config: the run's configuration.
        run: the run's public name.
        round_number: from 1.
        attempt: from 0; another attempt is another release.
        state: the adapter that is sent out.
        strategy: how updates are aggregated.
        budgets: every client's plan; the largest range that one of them needs is the codec's.
        gone: who has left the cohort for good.
        clip_norm: where it has adapted; None for the configured one.
        allotments: of every client, where they are not to be dealt again: those of a run that is played once more.
    """
    parts = deal_allotments(config) if allotments is None else allotments
    noise = budgets[0].client_noise
    training, sums = config.training, config.secure_sum
    return RoundPlan(
        run=run,
        round=round_number,
        attempt=attempt,
        cohort=choose_cohort(config, round_number, gone=gone),
        model_hash=state.digest().hex(),
        strategy=strategy.name,
        local_steps=training.local_steps,
        sample_rate=training.sample_rate,
        nominal_batch=training.nominal_batch,
        optimizer=training.optimizer,
        learning_rate=training.learning_rate,
        proximal=training.proximal,
        control_variates=training.control_variates,
        clip_norm=clip_norm or config.privacy.clip_norm,
        noise_multiplier=max(budget.noise_multiplier for budget in budgets),
        protocol=sums.protocol,
        malicious_server=sums.server == "malicious",
        min_cohort=sums.min_cohort,
        adversarial_fraction=sums.adversarial_fraction,
        dropout_fraction=sums.dropout_fraction,
        codec_clip=_widest(config, budgets) if sums.clip == "auto" else sums.clip,
        codec_bits=sums.bits,
        private=budgets[0].private,
        mechanism="per_example" if noise is None else noise.mechanism,
        count_weight=0.0 if noise is None else noise.count_weight,
        scaled=strategy.scales,
        weighing=(
            "uniform"
            if counts_alike(strategy, parts, local_steps=training.local_steps)
            else config.aggregation.weighing
        ),
        sent_share=config.aggregation.sent_share,
        sent_values=config.aggregation.sent_values,
        sums=max(1, strategy.reads.sums),
        sum_groups=config.aggregation.groups,
        robust=config.aggregation.robust,
        trimmed_share=config.aggregation.trimmed_share,
        own_terms=()
        if noise is not None
        else tuple(
            terms
            for budget, allotment in zip(budgets, parts, strict=True)
            if (terms := _own_terms(config, budget, allotment)) is not None
        ),
    )


def _widest(config: Config, budgets: tuple[ClientBudget, ...]) -> float:
    """The range of values that fits every client, and stays the same whoever is in the cohort."""
    if budgets[0].client_noise is not None:
        return budgets[0].client_noise.largest_norm
    return max(
        codec_clip(
            config.training,
            clip_norm=clip_norm_of(config, budget),
            noise_multiplier=budget.noise_multiplier,
            nominal_batch=divisor(config, budget),
        )
        for budget in budgets
    )


def _own_terms(config: Config, budget: ClientBudget, allotment: Allotment) -> OwnTerms | None:
    terms = OwnTerms(
        client=budget.client,
        sample_rate=budget.sample_rate,
        clip_norm=clip_norm_of(config, budget),
        nominal_batch=divisor(config, budget),
        groups=tuple(GroupRate(name=group.name, sample_rate=group.sample_rate) for group in budget.groups),
        rank=allotment.rank,
        layers=allotment.layers,
        targets=allotment.targets,
        local_steps=None if allotment.local_steps == config.training.local_steps else allotment.local_steps,
    )
    common = OwnTerms(
        client=budget.client,
        sample_rate=config.training.sample_rate,
        clip_norm=config.privacy.clip_norm,
        nominal_batch=config.training.nominal_batch,
    )
    return None if terms == common else terms
