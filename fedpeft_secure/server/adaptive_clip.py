"""The clip norm of whole updates where it follows a quantile of their norms: post-processing of released counts."""

from fedpeft_secure.client_noise import next_clip_norm
from fedpeft_secure.config import Config
from fedpeft_secure.result import RoundRecord


def current_clip_norm(config: Config, records: tuple[RoundRecord, ...]) -> float:
    """The clip norm of the next round, from the records of the last one: a resumed run goes on where it stood.

    Args:
        config: the run's configuration.
        records: of the finished rounds; one that failed, or has a fixed clip norm, counts nothing.
    """
    clipping, clip_norm = config.privacy.clipping, config.privacy.clip_norm
    for record in records:
        if record.below_clip is not None:
            clip_norm = next_clip_norm(clip_norm, record.below_clip, quantile=clipping.quantile, rate=clipping.rate)
    return clip_norm
