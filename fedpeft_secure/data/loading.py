"""The one entrance: from `[data]` to what each client holds and what is public."""

from fedpeft_secure.config import DataConfig
from fedpeft_secure.data.examples import FederatedData
from fedpeft_secure.data.partitions import partition
from fedpeft_secure.data.sources import read_source
from fedpeft_secure.data.splits import split
from fedpeft_secure.data.synthetic import synthetic_clients
from fedpeft_secure.errors import DataError
from fedpeft_secure.seeds import Seed


def load(config: DataConfig, *, clients: int, seed: Seed) -> FederatedData:
    """Reads the data, sets the public splits apart and deals the rest to the clients.

    Guarantee: no text, nor a near-duplicate of it, stands in two of training, validation and test; validation and
        test depend on the data and `data.split_seed` alone, so that every run seed is measured on the same texts.
    Args:
        config: the table `[data]`.
        clients: how many clients there are; each gets at least one example.
        seed: the run's seed, which decides the partition.
    Raises:
        DataError: the data cannot be read, used, or dealt as asked.
    """
    if config.validation_fraction + config.test_fraction > 0.9:
        raise DataError("data.validation_fraction + data.test_fraction leave under a tenth for training: lower them")
    if config.name == "synthetic":
        if config.budget_group:
            raise DataError("data.budget_group: synthetic data have no columns; leave it away")
        return synthetic_clients(config, clients=clients, seed=seed)
    source = read_source(config)
    parts = split(
        source.examples,
        classes=source.classes,
        validation_fraction=config.validation_fraction,
        test_fraction=config.test_fraction,
        seed=Seed(config.split_seed),
    )
    held = partition(parts.training, config=config.partition, clients=clients, seed=seed)
    return FederatedData(
        clients=held,
        validation=parts.validation,
        test=parts.test,
        classes=source.classes,
        description=source.description,
        public_text=source.public_text,
        secrets=((),) * clients,
    )
