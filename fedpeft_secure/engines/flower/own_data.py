"""A node's own examples: a file on its machine, with the classes that its owner names."""

import numpy as np

from fedpeft_secure.config import Config
from fedpeft_secure.data.columns import budget_groups, column_values
from fedpeft_secure.data.examples import LabelledTexts
from fedpeft_secure.data.files import read_table
from fedpeft_secure.engines.flower.settings import NodeSettings
from fedpeft_secure.errors import DataError, PolicyError


def check_described(settings: NodeSettings, config: Config, *, classes: tuple[str, ...]) -> None:
    """Refuses a run that expects other labels or groups than the owner says there are, before an example is read.

    Guarantee: whether the node takes part does not depend on its examples. Otherwise the server could leave out a class
        and learn from the refusal whether anybody has it, at no charge and as often as it likes.

    Raises:
        PolicyError: It names what the server has sent, and nothing of the settings.
    """
    if classes != settings.classes:
        raise PolicyError(
            f"{settings.name} refuses the run: its classes ({', '.join(classes)}) are not those of this node's "
            "settings, or in another order"
        )
    if settings.budget_group and (groups := config.groups_of(settings.name)) and set(groups) != set(settings.groups):
        raise PolicyError(f"{settings.name} refuses the run: its groups are not those of this node's settings")


def read_own_data(settings: NodeSettings) -> LabelledTexts:
    """The node's labelled texts.

    Args:
        settings: name the file, its columns, and the classes: every label is one of their names, or an index.

    Raises:
        DataError: If the file cannot be used.
    """
    source, classes = settings.data.name, settings.classes
    table = read_table(settings.data)
    texts = column_values(table, settings.text, setting="text", source=source)
    labels = column_values(table, settings.label, setting="label", source=source)
    if not all(isinstance(text, str) and text.strip() for text in texts) or not texts:
        raise DataError(f"data: {source} has no examples, or a row without a text: fix or drop it")
    names = {name: index for index, name in enumerate(classes)}
    if not all(isinstance(label, str) for label in labels):
        names = {str(index): index for index in range(len(classes))} | names
    found = [names.get(_name(label)) for label in labels]
    known = [index for index in found if index is not None]
    if len(known) != len(found):
        raise DataError(
            f"label: {source} has a label that is none of the classes {', '.join(classes)}; mend it, or name it in "
            "`classes`, as the run does"
        )
    owners = None
    if settings.budget_group:
        named = column_values(table, settings.budget_group, setting="budget_group", source=source)
        owners = budget_groups(named, source=source)
        strangers = set(owners) - set(settings.groups)
        if strangers:
            raise DataError(
                f"budget_group: {source} has {min(strangers)!r}, which is none of `groups`; mend it, or name it there, "
                "as the run does"
            )
    return LabelledTexts(texts=tuple(texts), labels=np.array(known, dtype=np.int64), budget_groups=owners)


def _name(label: object) -> str:
    if isinstance(label, str):
        return label.strip()
    return str(int(label)) if isinstance(label, bool | int | np.integer) else str(label)
