"""Numbers as people read them: three digits, a unit, never a false precision."""

import math

NO_BREAK = "\u00a0"
ABSENT = "–"
LONGEST_LABEL = 40
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def number(value: float | None, *, digits: int = 3) -> str:
    """A number with a fixed count of decimals; absent ones are a dash, infinite ones the sign."""
    if value is None or math.isnan(value):
        return ABSENT
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    return f"{value:,.{digits}f}".replace("-", "−")


def significant(value: float, *, digits: int = 3) -> str:
    """A number rounded to significant digits, without an exponent."""
    if value == 0 or not math.isfinite(value):
        return number(value, digits=0)
    rounded = float(f"{value:.{digits - 1}e}")
    return number(rounded, digits=max(0, digits - 1 - math.floor(math.log10(abs(rounded)))))


def shortest(value: float) -> str:
    """A setting as somebody would have typed it: 8, 0.15, ∞."""
    return number(value, digits=0) if math.isinf(value) else f"{value:g}".replace("-", "−")


def interval(low: float | None, high: float | None) -> str:
    """Both ends of an interval, or a dash."""
    return ABSENT if low is None or high is None else f"{number(low)} to {number(high)}"


def power_of_ten(value: float) -> str:
    """A small number such as δ in scientific notation: 10⁻⁵, 3.2 × 10⁻⁶."""
    if value == 0:
        return "0"
    mantissa, exponent = f"{value:.1e}".split("e")
    power = "10" + str(int(exponent)).translate(_SUPERSCRIPTS)
    return power if mantissa == "1.0" else f"{mantissa.removesuffix('.0')}{NO_BREAK}×{NO_BREAK}{power}"


def privacy_pair(epsilon: float, delta: float) -> str:
    """ε with its δ, in parentheses that a line break leaves whole."""
    return f"(ε = {number(epsilon)}, δ = {power_of_ten(delta)})".replace(" ", NO_BREAK)


def data_size(count_bytes: float) -> str:
    """A number of bytes in decimal units: 41.3 kB, 90.9 MB."""
    if count_bytes < 1000:
        return f"{count_bytes:.0f}{NO_BREAK}B"
    for unit in ("kB", "MB", "GB"):
        count_bytes /= 1000
        if count_bytes < 999.5:
            return f"{significant(count_bytes)}{NO_BREAK}{unit}"
    return f"{significant(count_bytes / 1000)}{NO_BREAK}TB"


def duration(seconds: float) -> str:
    """A time in the two units that matter: 0.42 s, 3 min 41 s, 1 h 02 min."""
    if seconds < 59.95:
        return f"{significant(seconds)}{NO_BREAK}s"
    minutes = round(seconds) // 60
    if minutes < 60:
        return f"{minutes}{NO_BREAK}min{NO_BREAK}{round(seconds) % 60:02d}{NO_BREAK}s"
    minutes = round(seconds / 60)
    return f"{minutes // 60}{NO_BREAK}h{NO_BREAK}{minutes % 60:02d}{NO_BREAK}min"


def count(value: int, noun: str) -> str:
    """A count with its noun, which takes an "s" unless there is just one."""
    return f"{value:,}{NO_BREAK}{noun}{'' if value == 1 else 's'}"


def relation_name(relation: str) -> str:
    """The neighbouring relation in words: add_remove reads "add or remove"."""
    return {"add_remove": "add or remove", "replace_one": "replace"}.get(relation, relation.replace("_", " "))


def listed(items: tuple[str, ...]) -> str:
    """Words in a row: "a", "a and b", "a, b and c"."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"


def cut(words: str) -> str:
    """Words short enough for a label in a picture."""
    return words if len(words) <= LONGEST_LABEL else words[: LONGEST_LABEL - 1] + "…"
