"""The exceptions of `dp`: one tree, one line each, with the remedy."""

# ruff: noqa: N818 — the names say what went wrong; DESIGN names them so


class PrivacyError(Exception):
    """Root of everything that `dp` raises on purpose."""


class InvalidParameter(PrivacyError, ValueError):
    """A privacy parameter is outside its domain."""


class UnsupportedAccounting(PrivacyError, ValueError):
    """This accountant cannot evaluate this event under this neighbouring relation."""


class UnreachableBudget(PrivacyError, ValueError):
    """No noise multiplier in range meets the requested budget."""


class BudgetExceeded(PrivacyError):
    """The release would spend more than the client's budget; nothing was stored and nothing may be sent."""


class LedgerError(PrivacyError):
    """The ledger cannot be used as asked."""


class LedgerInUse(LedgerError):
    """Another writer holds this ledger."""


class LedgerTampered(LedgerError):
    """The hash chain of the ledger does not hold: rows were changed, removed or reordered."""


class NonFiniteUpdate(PrivacyError, ValueError):
    """A vector that must be finite holds NaN or Inf."""


class NotPerExample(PrivacyError):
    """A gradient or loss is not one row for each example, so clipping would not bound an example's influence."""


class BatchCoupled(PrivacyError):
    """A layer or loss lets one example change another example's gradient."""


class UnsupportedParameter(PrivacyError):
    """A trainable parameter has no exact per-example gradient rule."""


class NothingTrained(PrivacyError):
    """A step that was charged changed no trainable parameter."""
