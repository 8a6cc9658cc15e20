"""From wishes and evidence to files: the whole of `fedpeft recommend` but for its options."""

from collections.abc import Sequence
from pathlib import Path

from evaluations.recommend.answer import RecommendationAnswer, answer
from evaluations.recommend.choose import choose, recommended_config
from evaluations.recommend.evidence import read_candidates
from evaluations.recommend.page import write_recommendation_page
from evaluations.recommend.wishes import Wishes
from fedpeft_secure.affordability import rounds_on_ledger
from fedpeft_secure.budgets import plan_budgets, planned_rounds
from fedpeft_secure.config import Config
from fedpeft_secure.config_file import dump_config
from fedpeft_secure.errors import RunDirectoryError
from fedpeft_secure.rundir import write_atomically

CONFIGURATION = "recommended.toml"


def recommend(base: Config | None, *, wishes: Wishes, evidence: Sequence[Path], out: Path) -> RecommendationAnswer:
    """Chooses among finished runs, and writes `recommended.toml`, `recommendation.json` and a report page into `out`.

    Args:
        base: names the model and data that count; None where all evidence is on the same.
        wishes: what must be kept.
        evidence: folders of runs, sweeps or comparisons.
        out: new, or one of an earlier recommendation, which is replaced.

    Raises:
        InputError: If there is no evidence, or `out` cannot be written.
    """
    found = choose(read_candidates(evidence, base), wishes)
    config = None if found.chosen is None else recommended_config(found.chosen, base)
    said = answer(found, config, room=config is None or _has_room(config))
    text = "" if config is None else dump_config(config)
    try:
        out.mkdir(parents=True, exist_ok=True)
        target = out / CONFIGURATION
        if config is None:
            target.unlink(missing_ok=True)  # of an earlier recommendation, which no longer holds
        else:
            write_atomically(target, text.encode())
        write_atomically(out / "recommendation.json", said.to_json().encode())
    except OSError as error:
        raise RunDirectoryError(f"--out {out}: {error.strerror}; give a directory that can be written") from None
    write_recommendation_page(out, said, text)
    return said


def _has_room(config: Config) -> bool:
    """Whether its ledger leaves every client room for all its rounds."""
    if config.privacy.ledger == "run":
        return True
    left = rounds_on_ledger(config, plan_budgets(config))
    return all(rounds >= planned_rounds(config, client) for client, rounds in left.items())
