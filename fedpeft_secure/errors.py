"""The exceptions of `fedpeft_secure`, all below one root."""


class FedPeftError(Exception):
    """Something went wrong that a message of one line explains."""


class InputError(FedPeftError):
    """What the user gave cannot be used: the message names the setting and the remedy (exit status 2)."""


class ConfigError(InputError):
    """A setting of the configuration is unknown, of the wrong type or impossible."""


class DataError(InputError):
    """A data set, column or label cannot be read or used."""


class ModelError(InputError):
    """A model cannot be found, loaded or adapted."""


class RunDirectoryError(InputError):
    """A run directory is in use, incomplete or not one."""


class PolicyError(FedPeftError):
    """A client refuses to take part: the request breaks its own policy."""


class RunFailedError(FedPeftError):
    """The rounds of a run keep failing; it can be resumed (exit status 1)."""


class TrainingFailedError(RunFailedError):
    """A client's training failed on the examples that it drew, in another process of this machine."""
