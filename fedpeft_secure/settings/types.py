"""What the tables of the configuration are made of: bounded numbers, units, and the base of every table."""

import math
from dataclasses import dataclass
from typing import Annotated

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    PlainSerializer,
    WithJsonSchema,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

Epsilon = Annotated[
    float,
    Field(gt=0, allow_inf_nan=True),
    BeforeValidator(lambda value: math.inf if value == "inf" else value),
    PlainSerializer(lambda value: "inf" if math.isinf(value) else value, return_type=float | str),
    WithJsonSchema({"anyOf": [{"type": "number", "exclusiveMinimum": 0}, {"const": "inf", "type": "string"}]}),
]
"""A privacy budget: a positive number, or "inf" for none."""

Limit = Epsilon
"""Any other bound that may be "inf"."""

Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Rate = Annotated[float, Field(gt=0, le=1)]
Text = Annotated[str, Field(min_length=1)]
ClipNorm = Annotated[float, Field(ge=1e-6)]
Rank = Annotated[int, Field(ge=1, le=1024)]

LARGEST_DELTA = 1e-2


def _small(delta: float) -> float:
    if delta > LARGEST_DELTA:
        raise ValueError(
            f"above {LARGEST_DELTA:g} would allow giving away one example in a hundred outright; take well under "
            "1 / (number of examples), such as 1e-5"
        )
    return delta


Delta = Annotated[
    float,
    Field(gt=0, lt=1),
    AfterValidator(_small),
    WithJsonSchema({"type": "number", "exclusiveMinimum": 0, "maximum": LARGEST_DELTA}),
]
"""A public δ; large values would make any ε meaningless."""

CUSTOM_PATTERN = r"^[\w.]+:\w+$"

Custom = Annotated[str, Field(pattern=CUSTOM_PATTERN)]
"""Somebody's own implementation: "package.module:Name"."""


@dataclass(frozen=True, slots=True)
class Unit:
    """What a key is counted in, for the reference of settings: `unit` in the JSON schema.

    Args:
        name: such as "tokens".
    """

    name: str

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """The schema of the value, with its unit."""
        return {**handler(schema), "unit": self.name}


class Table(BaseModel):
    """Base of every table: unknown keys are errors, values never change, and only a budget may be infinite.

    The docstring under a key is its description in docs/settings.md: one plain sentence.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)
