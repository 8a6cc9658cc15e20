"""What is attacked: ways to run one configuration, each with other defences."""

from collections.abc import Mapping, Sequence
from typing import Any

from evaluations.compare.arms import Arm
from fedpeft_secure.config import Config
from fedpeft_secure.errors import ConfigError, InputError
from fedpeft_secure.preflight import check

NO_DP: Mapping[str, Any] = {"privacy.epsilon": "inf", "privacy.per_client": {}, "privacy.groups": {}}
OPEN: Mapping[str, Any] = {"secure_sum.protocol": "plain"}
SUMMED: Mapping[str, Any] = {"secure_sum.protocol": "masked"}

LOW_RANK = 2
"""Rank of the defence by a low rank."""

LARGER = 2
"""Factor of the defence by a larger cohort."""

FAST = ("plain", "secure-sum", "dp-8", "dp-1", "secure-sum+dp-8", "low-rank", "ffa", "larger-cohort")
FAST_ATTACKS = ("span", "membership", "update-cosine")
"""The subset that needs no shadow models."""


def defences(base: Config) -> dict[str, Arm]:
    """Every defence by its name, the undefended run first."""
    found = {
        "plain": {**OPEN, **NO_DP},
        "secure-sum": {**SUMMED, **NO_DP},
        **{f"dp-{epsilon}": {**OPEN, **_dp(epsilon)} for epsilon in (8, 3, 1)},
        **{f"secure-sum+dp-{epsilon}": {**SUMMED, **_dp(epsilon)} for epsilon in (8, 1)},
        "low-rank": {**OPEN, **NO_DP, "peft.rank": min(LOW_RANK, base.peft.rank)},
        "ffa": {**OPEN, **NO_DP, "aggregation.strategy": "ffa"},
        "larger-cohort": {
            **SUMMED,
            **NO_DP,
            "clients.count": LARGER * base.clients.count,
            "clients.per_round": LARGER * base.clients.per_round,
        },
    }
    return {name: Arm(name=name, changes=changes) for name, changes in found.items()}


def choose_defences(base: Config, names: Sequence[str]) -> tuple[tuple[Arm, ...], dict[str, str]]:
    """The defences of these names that the configuration bears, and why it refuses the others.

    Raises:
        InputError: If there is no such defence.
    """
    known = defences(base)
    unknown = [name for name in names if name not in known]
    if unknown:
        raise InputError(f"--defences {unknown[0]}: there are {', '.join(known)}")
    chosen, refused = [], {}
    for name in dict.fromkeys(names or known):
        try:
            check(known[name].config(base, seed=base.seed))
        except ConfigError as error:
            refused[name] = " ".join(str(error).split())
        else:
            chosen.append(known[name])
    return tuple(chosen), refused


def _dp(epsilon: int) -> dict[str, Any]:
    return {**NO_DP, "privacy.epsilon": float(epsilon)}
