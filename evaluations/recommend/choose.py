"""The recommendation: the candidate that surely keeps every wish for the least privacy; or why there is none."""

from collections.abc import Sequence
from dataclasses import dataclass

from evaluations.recommend.evidence import Candidate
from evaluations.recommend.verdicts import Kept, Verdict, overall, verdicts
from evaluations.recommend.wishes import Wishes
from evaluations.sweep.grid import absolute_ledger
from fedpeft_secure.config import Config
from fedpeft_secure.config_file import assigned, parse_config
from fedpeft_secure.preflight import check


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """A candidate with its verdicts."""

    candidate: Candidate
    verdicts: tuple[Verdict, ...]

    @property
    def kept(self) -> Kept:
        """How the worst of the wishes fares."""
        return overall(self.verdicts)

    @property
    def open_verdicts(self) -> tuple[Verdict, ...]:
        """Those that are not surely kept, the worst first."""
        return tuple(sorted((one for one in self.verdicts if one.kept < Kept.KEPT), key=lambda one: one.kept))


@dataclass(frozen=True, kw_only=True, slots=True)
class Recommendation:
    """What to run.

    Args:
        chosen: None where nothing keeps every wish, not even by its mean.
        judged: everything that was looked at, the best first.
        binding: names of wishes each of which is alone in keeping some candidate out; else those that are broken by
            every candidate.
    """

    chosen: Judged | None
    judged: tuple[Judged, ...]
    binding: tuple[str, ...] = ()

    @property
    def sure(self) -> bool:
        """Whether every interval lies on the right side."""
        return self.chosen is not None and self.chosen.kept is Kept.KEPT


def choose(candidates: Sequence[Candidate], wishes: Wishes) -> Recommendation:
    """Among what surely keeps every wish: the smallest ε, then the smallest upload, then the best accuracy.

    Where nothing does so surely, what does by its mean is chosen, and called unsure. What was not measured is never
    taken to be kept.
    """
    judged = [Judged(candidate=each, verdicts=verdicts(each, wishes)) for each in candidates]
    judged.sort(key=_order)
    chosen = judged[0] if judged and judged[0].kept >= Kept.UNSURE else None
    binding = () if chosen is not None else _binding(judged)
    return Recommendation(chosen=chosen, judged=tuple(judged), binding=binding)


def recommended_config(chosen: Judged, base: Config | None) -> Config:
    """The configuration to run, every client's budget written out, and checked as a run would.

    It goes on with the ledger that the evidence was charged on, or else the one that `base` names: what was spent on
    the search is spent.

    Raises:
        ConfigError: If this version refuses what an earlier one ran.
    """
    config = chosen.candidate.config
    tables = config.to_dict()
    if base is not None and config.privacy.ledger == "run":
        tables = absolute_ledger(assigned(tables, "privacy.ledger", base.privacy.ledger, origin="recommend"))
    if not any(config.groups_of(name) for name in config.client_names) and isinstance(config.privacy.per_client, dict):
        terms = tables["privacy"]["per_client"]
        budgets = {name: terms.get(name, tables["privacy"]["epsilon"]) for name in config.client_names}
        tables = assigned(tables, "privacy.per_client", budgets, origin="recommend")
    made = parse_config(tables)
    check(made)
    return made


def _order(judged: Judged) -> tuple[int, int, float, float, float]:
    candidate = judged.candidate
    broken = sum(one.kept is Kept.BROKEN for one in judged.verdicts)
    return -judged.kept, broken, candidate.epsilon, candidate.upload_bytes, -candidate.accuracy.mean


def _binding(judged: Sequence[Judged]) -> tuple[str, ...]:
    missed = [{one.wish for one in each.verdicts if one.kept < Kept.UNSURE} for each in judged]
    alone = {next(iter(names)) for names in missed if len(names) == 1}
    return tuple(sorted(alone or set.intersection(*missed) or set.union(*missed)))
