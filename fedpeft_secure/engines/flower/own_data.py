"""A node's own examples: a file on its machine, with the classes that the run names."""

import numpy as np

from fedpeft_secure.data.columns import budget_groups, column_values
from fedpeft_secure.data.examples import LabelledTexts
from fedpeft_secure.data.files import read_table
from fedpeft_secure.engines.flower.settings import NodeSettings
from fedpeft_secure.errors import DataError


def read_own_data(settings: NodeSettings, *, classes: tuple[str, ...]) -> LabelledTexts:
    """The node's labelled texts.

    Args:
        settings: name the file and its columns.
        classes: of the run; every label is one of these names, or the index of one.

    Raises:
        DataError: If the file cannot be used.
    """
    source = settings.data.name
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
        raise DataError(f"label: {source} has a label that is none of the run's classes, {', '.join(classes)}")
    owners = None
    if settings.budget_group:
        named = column_values(table, settings.budget_group, setting="budget_group", source=source)
        owners = budget_groups(named, source=source)
    return LabelledTexts(texts=tuple(texts), labels=np.array(known, dtype=np.int64), budget_groups=owners)


def _name(label: object) -> str:
    if isinstance(label, str):
        return label.strip()
    return str(int(label)) if isinstance(label, bool | int | np.integer) else str(label)
