"""The exception tree of `secagg`: every failure is a `ProtocolError` that names what was wrong and the remedy."""


class ProtocolError(Exception):
    """A secure sum could not be planned, joined or finished."""


class PlanError(ProtocolError, ValueError):
    """The public parameters of a round are impossible or unsafe."""


class CodecError(ProtocolError, ValueError):
    """A vector cannot be encoded without harm: overflow, saturation, NaN, a weight out of bounds."""


class WireError(ProtocolError, ValueError):
    """Bytes are not a well-formed message of this version."""


class RefusedError(ProtocolError):
    """A client was asked for something that its rules forbid; its session is over."""


class RoundFailedError(ProtocolError):
    """The server cannot finish the round: too few clients, or shares and sums that fail their checks."""


class SessionSpentError(ProtocolError):
    """A session was stepped twice, or after it had ended; start a new round with a new session."""
