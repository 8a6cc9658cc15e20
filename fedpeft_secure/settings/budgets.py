"""Terms of single clients: tables, files and distributions of budgets, and groups of examples."""

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, SerializerFunctionWrapHandler, Tag, model_serializer, model_validator

from fedpeft_secure.settings.types import ClipNorm, Delta, Epsilon, Positive, Rate, Table, Unit


class GroupTerms(Table):
    """Examples of one client with a budget of their own: ε, and their public share of a client's examples."""

    epsilon: Positive
    """The ε of every example of the group."""

    share: Rate
    """About how much of a client's examples the group is; public."""


class ClientTerms(Table):
    """What one client has for itself; whatever is left out is as for everybody. A bare number is its ε.

    With ε the noise is calibrated; with a noise multiplier alone ε follows from it; with both they are checked.
    """

    epsilon: Epsilon | None = None
    """The client's ε."""

    delta: Delta | None = None
    """The client's δ."""

    sample_rate: Rate | None = None
    """The client's sampling rate, in place of `training.sample_rate`."""

    noise_multiplier: Positive | None = None
    """The client's noise, as a multiple of its clip norm."""

    clip_norm: ClipNorm | None = None
    """The client's clip norm."""

    rounds: Annotated[int, Field(ge=1), Unit("rounds")] | None = None
    """After how many rounds the client leaves for good."""

    groups: dict[str, GroupTerms] | None = None
    """The client's groups of examples, in place of `privacy.groups`."""

    @model_validator(mode="before")
    @classmethod
    def _number(cls, value: Any) -> Any:
        bare = value == "inf" or (isinstance(value, int | float) and not isinstance(value, bool))
        return {"epsilon": value} if bare else value

    @model_serializer(mode="wrap")
    def _short(self, write: SerializerFunctionWrapHandler) -> Any:
        written = {name: value for name, value in write(self).items() if value is not None}
        return written["epsilon"] if list(written) == ["epsilon"] else written


class BudgetDistribution(Table):
    """Where every client's ε is drawn from, by the run's seed; the drawn budgets are public.

    "choice" takes one of `values` with probability `shares` (equal ones unless given), "uniform" lies between `low` and
    `high`; "lognormal" is cut to [low, high], which is the range of two standard deviations around its median.
    """

    distribution: Literal["choice", "uniform", "lognormal"]
    """The kind of distribution."""

    values: tuple[Positive, ...] = ()
    """The ε that "choice" takes one of."""

    shares: tuple[Rate, ...] = ()
    """The probability of each value; equal ones unless given."""

    low: Positive | None = None
    """The smallest ε of "uniform" and "lognormal"."""

    high: Positive | None = None
    """The largest ε of "uniform" and "lognormal"."""

    @model_serializer(mode="wrap")
    def _short(self, write: SerializerFunctionWrapHandler) -> Any:
        return {name: value for name, value in write(self).items() if value not in (None, [], ())}


def _form(value: Any) -> str:
    if isinstance(value, str):
        return FILE_FORM
    drawn = isinstance(value, BudgetDistribution) or (isinstance(value, dict) and "distribution" in value)
    return DISTRIBUTION_FORM if drawn else TABLE_FORM


FILE_FORM, DISTRIBUTION_FORM, TABLE_FORM = FORMS = ("<file>", "<distribution>", "<table>")

PerClient = Annotated[
    Annotated[str, Tag(FILE_FORM)]
    | Annotated[BudgetDistribution, Tag(DISTRIBUTION_FORM)]
    | Annotated[dict[str, ClientTerms], Tag(TABLE_FORM)],
    Discriminator(_form),
]
"""A table by client, the path of a CSV file, or a distribution; `per_client.resolve` makes all three the first."""
