"""What robust means over the sums of groups cannot be combined with, each refusal in one line with the remedy."""

from fedpeft_secure.aggregation.robust import FEWEST_GROUPS
from fedpeft_secure.aggregation.round_strategy import RoundStrategy
from fedpeft_secure.aggregation.rules import adds_noise_up, all_train_all
from fedpeft_secure.config import AggregationConfig, Config
from fedpeft_secure.errors import ConfigError
from fedpeft_secure.protocols import decide_protocol

PROTOCOLS = ("plain", "masked", "helper")
"""The secure sums of which a round may play several."""


def check_groups(config: Config, strategy: RoundStrategy) -> None:
    """Refuses groups that would not do what they are for, or break what another setting promises.

    Raises:
        ConfigError: Names the setting and the remedy.
    """
    groups, robust = config.aggregation.groups, config.aggregation.robust
    if robust != "trimmed_mean" and config.aggregation.trimmed_share != AggregationConfig().trimmed_share:
        raise ConfigError(
            f"aggregation.trimmed_share: nothing is trimmed under aggregation.robust = {robust!r}; set it to "
            '"trimmed_mean", or leave trimmed_share away'
        )
    if robust == "off":
        if groups > 1:
            raise ConfigError(
                f"aggregation.groups: {groups} groups' sums reveal more than one sum, and a plain mean over them gains "
                'nothing by it; set aggregation.robust = "median" or "trimmed_mean", or groups = 1'
            )
        return
    if groups < FEWEST_GROUPS:
        raise ConfigError(
            f"aggregation.groups: {groups} is too few for aggregation.robust = {robust!r}, which leaves the outermost "
            f'groups out; set it to {FEWEST_GROUPS} or more, or robust = "off"'
        )
    if (protocol := decide_protocol(config)[0]) not in PROTOCOLS:
        raise ConfigError(
            f"aggregation.groups: {protocol!r} has one sum a round here; use secure_sum.protocol = "
            f"{', '.join(PROTOCOLS[:-1])} or {PROTOCOLS[-1]}, or groups = 1"
        )
    if config.privacy.unit == "client":
        raise ConfigError(
            "aggregation.groups: the noise of whole clients is calibrated for one sum of the whole cohort; use "
            'privacy.unit = "example", or groups = 1'
        )
    if not adds_noise_up(strategy):
        raise ConfigError(
            f"aggregation.groups: a robust mean is one of changes as they are, and {strategy.name!r} sums something "
            "else, corrects it or sums twice; choose fedit, ffa, fedsvd, fed_sb or rolora without control variates, or "
            "groups = 1"
        )
    if not all_train_all(config):
        raise ConfigError(
            "aggregation.groups: where clients train different parts, a group may have none that fills a value; leave "
            "[allocation] away, or use groups = 1"
        )
    if config.clients.over_selection > 0:
        raise ConfigError(
            "aggregation.groups: the slowest that clients.over_selection cuts off may all be in one group; set it to "
            "0, or groups to 1"
        )
