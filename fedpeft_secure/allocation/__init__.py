"""Who takes part, and with how much of the module."""

from fedpeft_secure.allocation.participants import choose_cohort

__all__ = ["choose_cohort"]
