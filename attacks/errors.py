"""The exceptions of `attacks`, all below one root."""


class AttackError(Exception):
    """An attack cannot be played: the message says why and what would help."""


class ViewTooWeakError(AttackError):
    """An attack asks for more than its view reveals; it is refused, never fed."""


class NotApplicableError(AttackError):
    """The model or the messages are not of the kind that this attack reads."""
