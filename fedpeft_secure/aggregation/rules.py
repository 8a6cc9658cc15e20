"""What a strategy cannot be combined with, each refusal in one line with the remedy."""

from collections.abc import Sequence

from fedpeft_secure.aggregation.adalora import AdaLoRA
from fedpeft_secure.aggregation.base import MixedRanks, Reads, Weighing
from fedpeft_secure.aggregation.controlled import Controlled
from fedpeft_secure.aggregation.fed_sb import FedSB
from fedpeft_secure.aggregation.fedit import FedIT
from fedpeft_secure.aggregation.fedsvd import FedSVD
from fedpeft_secure.aggregation.ffa import FFA
from fedpeft_secure.aggregation.on_factors import OnFactors
from fedpeft_secure.aggregation.on_slots import OnSlots
from fedpeft_secure.aggregation.on_stacks import OnStacks
from fedpeft_secure.aggregation.on_tensors import OnTensors, RoLoRAJob
from fedpeft_secure.aggregation.round_strategy import RoundStrategy
from fedpeft_secure.aggregation.sparse import Sparse
from fedpeft_secure.allocation.allotment import Allotment
from fedpeft_secure.allocation.deal import deal_allotments
from fedpeft_secure.config import Config
from fedpeft_secure.errors import ConfigError

STEADY = frozenset({"fedit", "ffa", "fed_sb"})
"""Strategies whose tensors keep their coordinates from round to round."""

PLAIN_SUMS = (FedIT, FFA, FedSVD, FedSB, AdaLoRA)
"""Strategies whose clients send the change of what they train, and nothing else."""

PREFIX_SLOTS = frozenset({"ffa", "fedsvd", "hetlora", "fedex", "flora"})
"""Strategies whose clients of smaller rank hold the first slots."""


def check_strategy(config: Config, strategy: RoundStrategy) -> None:
    """Refuses what cannot run as it says.

    Raises:
        ConfigError: Names the setting and the remedy.
    """
    name = strategy.name
    if strategy.reads is Reads.INDIVIDUAL and config.secure_sum.protocol != "plain":
        raise ConfigError(
            f"aggregation.strategy: {name!r} needs individual updates, which the secure sum hides; "
            'choose another strategy or secure_sum.protocol = "plain"'
        )
    private = any(config.is_private(client) for client in config.client_names)
    if name == "hetlora" and private:
        raise ConfigError(
            "aggregation.strategy: 'hetlora' weighs clients by norms of their own updates, and dividing by a noisy sum "
            'of such weights is biased; choose "fedsvd" under DP'
        )
    _check_optimizer(config, strategy)
    _check_client_level(config, strategy, private=private)
    _check_ranks(config, strategy)


def controlled(config: Config, strategy: RoundStrategy) -> Controlled:
    """The strategy with control variates.

    Raises:
        ConfigError: If it changes the coordinates of what it sums, or the clients' steps are not plain and alike.
    """
    setting = "training.control_variates"
    if not isinstance(strategy, OnTensors) or strategy.name not in STEADY:
        raise ConfigError(
            f"{setting}: {strategy.name!r} does not sum changes of the same coordinates in every round; set "
            "aggregation.strategy to fedit or ffa"
        )
    if config.training.optimizer != "sgd" or config.training.proximal > 0:
        raise ConfigError(f'{setting}: corrects plain gradient steps; use training.optimizer = "sgd" and proximal = 0')
    if not all_train_all(config):
        raise ConfigError(f"{setting}: every client must train the whole module; leave [allocation] away")
    if config.aggregation.sent_share < 1:
        raise ConfigError(f"{setting}: needs the change of every value; use aggregation.sent_share = 1")
    if config.privacy.unit == "client":
        raise ConfigError(f'{setting}: remembers single clients\' gradients; use privacy.unit = "example"')
    return Controlled(inner=strategy, clients=config.clients.count)


def sparse(config: Config, strategy: RoundStrategy) -> Sparse:
    """The strategy, with a share of the coordinates a round.

    Raises:
        ConfigError: If the coordinates change from round to round, or differ from client to client.
    """
    setting = "aggregation.sent_share"
    if not isinstance(strategy, OnTensors) or strategy.name not in STEADY:
        raise ConfigError(
            f"{setting}: {strategy.name!r} does not sum changes of the same coordinates in every round; set "
            "aggregation.strategy to fedit or ffa"
        )
    if not all_train_all(config):
        raise ConfigError(f"{setting}: every client must train the whole module; leave [allocation] away")
    if config.privacy.unit == "client":
        raise ConfigError(f'{setting}: clips and noises gradients of examples; use privacy.unit = "example"')
    return Sparse(inner=strategy, share=config.aggregation.sent_share, rule=config.aggregation.sent_values)


def counts_alike(strategy: RoundStrategy, allotments: Sequence[Allotment], *, local_steps: int) -> bool:
    """Whether every client counts once in the mean, whatever it holds.

    Where clients leave slots empty, one vector holds sums over different clients. Example counts in it would be
    differences of its values: of the shares of rank slots, or of what rows of A keep of their public start.
    """
    if strategy.weighing is Weighing.OWN:
        return True
    on_factors = isinstance(strategy, OnFactors) and strategy.strategy.mixed_ranks is MixedRanks.SLOTS
    return (isinstance(strategy, OnSlots) or on_factors) and not _all_whole(allotments, local_steps=local_steps)


def adds_noise_up(strategy: RoundStrategy) -> bool:
    """Whether a sum is one of changes as they are, so that the noise of everybody who fills a value is on it.

    Products, sketches and weights are no sums of noised gradients. What a client keeps for itself, a head or a control
    variate, carries its own noise from round to round, which no sum shows. Nothing is known of others' encodings.
    """
    inner = strategy.inner if isinstance(strategy, Sparse) else strategy
    return isinstance(inner, RoLoRAJob) or (isinstance(inner, OnTensors) and type(inner.strategy) in PLAIN_SUMS)


def all_train_all(config: Config) -> bool:
    """Whether every client trains the whole module, in the same number of steps."""
    return _all_whole(deal_allotments(config), local_steps=config.training.local_steps)


def _all_whole(allotments: Sequence[Allotment], *, local_steps: int) -> bool:
    return all(part == Allotment(client=part.client, local_steps=local_steps) for part in allotments)


def fills_parts(config: Config, strategy: RoundStrategy) -> bool:
    """Whether some clients leave coordinates of a sum empty that others fill."""
    parts = deal_allotments(config)
    if any(part.layers or part.targets for part in parts):
        return True
    dense = isinstance(strategy, OnFactors) and strategy.strategy.mixed_ranks is MixedRanks.DENSE
    return not dense and any(part.slots(config.peft.rank) < config.peft.rank for part in parts)


def client_ranks(config: Config) -> tuple[int, ...]:
    """The rank of every client, in order."""
    return tuple(allotment.slots(config.peft.rank) for allotment in deal_allotments(config))


def emptiest_slot(config: Config) -> int:
    """The fewest clients of any cohort that fill a slot, if clients of smaller rank hold the first ones."""
    left_out = config.clients.count - config.clients.per_round
    return sum(rank == max(client_ranks(config)) for rank in client_ranks(config)) - left_out


def goes_straight(strategy: RoundStrategy) -> bool:
    """Whether it answers with factors of its own, not with a change that a server optimiser could step along."""
    return isinstance(strategy, OnFactors | OnStacks)


def _check_optimizer(config: Config, strategy: RoundStrategy) -> None:
    if not goes_straight(strategy):
        return
    training = config.training
    if training.server_optimizer != "sgd":
        raise ConfigError(
            f"training.server_optimizer: {strategy.name!r} goes straight to its answer, which nothing that adapts or "
            'remembers can step along; use "sgd" with server_learning_rate = 1'
        )
    if training.server_learning_rate > 1:
        raise ConfigError(
            f"training.server_learning_rate: {training.server_learning_rate:g} would overshoot the answer of "
            f"{strategy.name!r}; use at most 1"
        )


def _check_client_level(config: Config, strategy: RoundStrategy, *, private: bool) -> None:
    if config.privacy.unit != "client" or not private:
        return
    if not isinstance(strategy, OnTensors):
        raise ConfigError(
            f"aggregation.strategy: {strategy.name!r} does not send the change of an adapter, which is what whole "
            'clients clip and noise; choose "fedsvd", or privacy.unit = "example"'
        )
    if len(set(client_ranks(config))) > 1:
        raise ConfigError(
            "allocation.ranks: noise shares of whole clients fill every slot, whatever their ranks; leave it away, or "
            'use privacy.unit = "example"'
        )


def _check_ranks(config: Config, strategy: RoundStrategy) -> None:
    ranks = client_ranks(config)
    if isinstance(strategy, OnSlots) or min(ranks) == config.peft.rank:
        return
    dense = isinstance(strategy, OnFactors) and strategy.strategy.mixed_ranks is MixedRanks.DENSE
    if dense:
        return
    if strategy.name not in PREFIX_SLOTS:
        raise ConfigError(
            f"aggregation.strategy: clients have ranks {min(ranks)} to {max(ranks)} of {config.peft.rank}, and "
            f"{strategy.name!r} needs all of them; choose rank_slots, product_sketch, fedask, flexlora or fedsvd"
        )
    if max(ranks) < config.peft.rank:
        raise ConfigError(
            f"peft.rank: no client has more than {max(ranks)} of {config.peft.rank} slots; lower it to {max(ranks)}"
        )
    fewest = 1 if strategy.reads is Reads.INDIVIDUAL else config.secure_sum.min_cohort
    if (filling := emptiest_slot(config)) < fewest:
        raise ConfigError(
            f"allocation.ranks: a cohort may have {max(0, filling)} clients of rank {max(ranks)}, fewer than "
            f"secure_sum.min_cohort = {fewest}, so that a sum would show their slots; give more clients that rank, or "
            "choose rank_slots, product_sketch, fedask or flexlora"
        )
