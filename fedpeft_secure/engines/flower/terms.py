"""What the server tells every node about a run: its whole configuration, which the node judges by its own policy."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fedpeft_secure.config import Config
from fedpeft_secure.errors import PolicyError

Text = Annotated[str, Field(min_length=1, max_length=200)]


class Terms(BaseModel):
    """The terms of a run; `directory` is the fingerprint of the key directory, `base` the digest of the model."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    config: dict[str, Any]
    classes: Annotated[list[Text], Field(min_length=2, max_length=10_000)]
    version: Text
    directory: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    base: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]

    def to_bytes(self) -> bytes:
        """As JSON."""
        return self.model_dump_json().encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> "Terms":
        """Parses strictly.

        Raises:
            PolicyError: If they are malformed.
        """
        try:
            return cls.model_validate_json(data)
        except ValidationError:
            raise PolicyError("the server's terms are malformed; it may run another version") from None

    def configuration(self, *, model: str) -> Config:
        """The run's configuration, as this node reads it: no file that it names is opened.

        Args:
            model: the node's own path of the model; empty for the configured name.

        Raises:
            PolicyError: If it is no valid configuration.
        """
        try:
            config = Config.model_validate(self.config)
        except ValidationError:
            raise PolicyError("the server's configuration is not valid here; it may run another version") from None
        if not isinstance(config.privacy.per_client, dict):
            raise PolicyError("the server's configuration leaves budgets open; it must say what each client's is")
        if not model:
            return config
        return config.model_copy(update={"model": config.model.model_copy(update={"name": model})})
