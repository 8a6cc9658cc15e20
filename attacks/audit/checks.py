"""What the audits' arguments must satisfy."""

from attacks.errors import AttackError


def check_fraction(name: str, value: float, *, open_ends: bool = True) -> None:
    """Refuses a rate or probability outside (0, 1), or [0, 1] where the ends are allowed."""
    inside = 0 < value < 1 if open_ends else 0 <= value <= 1
    if not inside:
        raise AttackError(f"{name} must lie in {'(0, 1)' if open_ends else '[0, 1]'}, got {value}")


def check_part(name: str, part: int, whole: int) -> None:
    """Refuses a count that is negative or exceeds what it counts."""
    if not 0 <= part <= whole:
        raise AttackError(f"{name} must lie in 0…{whole}, got {part}")
