import inspect

from fedpeft_secure import errors
from fedpeft_secure.errors import FedPeftError, InputError


def test_there_is_one_root() -> None:
    found = [value for _, value in inspect.getmembers(errors, inspect.isclass)]
    assert all(issubclass(kind, FedPeftError) for kind in found)


def test_bad_input_is_told_from_a_failed_run() -> None:
    """Exit status 2 against 1."""
    inputs = {kind.__name__ for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, InputError)}
    assert inputs == {"InputError", "ConfigError", "DataError", "ModelError", "RunDirectoryError"}
    assert not issubclass(errors.PolicyError, InputError)
    assert not issubclass(errors.RunFailedError, InputError)
