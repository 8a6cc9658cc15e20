"""How much a client computes in a round, by the cost model."""

from fedpeft_secure.allocation.adaptive import menu_of
from fedpeft_secure.allocation.cost import cost_of
from fedpeft_secure.allocation.shapes import Choice
from fedpeft_secure.config import Config
from fedpeft_secure.errors import FedPeftError
from fedpeft_secure.result import Setup


def client_round_flops(config: Config, setup: Setup) -> float | None:
    """Multiplications and additions of one client's local training in one round, for the mean client.

    Counts what every example would cost at the largest length, so it is an upper bound for shorter texts, and it knows
    nothing of activations that are kept between rounds. None for methods and models whose cost is not modelled, and
    where clients differ in what they train.

    Args:
        config: resolved.
        setup: of the finished run, for the number of training examples.
    """
    allocation = config.allocation
    if allocation.strategy != "uniform" or allocation.ranks:
        return None
    try:
        menu = menu_of(config)
        choice = Choice(
            method=menu.method,
            layers=menu.layers,
            targets=menu.targets,
            rank=config.peft.rank,
            trains_a=menu.trains_a,
            batch=1,
            length=menu.length,
            private=menu.private,
            adamw=menu.adamw,
        )
    except (FedPeftError, ValueError):
        return None
    training = config.training
    examples = training.local_steps * training.sample_rate * setup.train_examples / setup.clients
    return cost_of(menu.shape, choice).flops * examples
