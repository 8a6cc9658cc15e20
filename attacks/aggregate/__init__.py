"""Attacks on the aggregate and on the protocol: what sums, cohorts and roles give away."""

from attacks.aggregate.class_shares import ClassShares, likeliest_label
from attacks.aggregate.differencing import cosine, subtract_known
from attacks.aggregate.disaggregation import disaggregate, disaggregation_score
from attacks.aggregate.linkability import link
from attacks.aggregate.lying_server import LyingServer, play_lying_server
from attacks.aggregate.property import PropertyInference

__all__ = [
    "ClassShares",
    "LyingServer",
    "PropertyInference",
    "cosine",
    "disaggregate",
    "disaggregation_score",
    "likeliest_label",
    "link",
    "play_lying_server",
    "subtract_known",
]
