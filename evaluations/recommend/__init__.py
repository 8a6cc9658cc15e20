"""Recommendations: from a floor, a ceiling and each client's limits to a configuration, by finished runs."""

from evaluations.recommend.answer import RecommendationAnswer, require_found, screen
from evaluations.recommend.command import recommend
from evaluations.recommend.wishes import Wishes, make_wishes

__all__ = ["RecommendationAnswer", "Wishes", "make_wishes", "recommend", "require_found", "screen"]
