from collections.abc import Callable

import numpy as np
import pytest

from fedpeft_secure import Config
from fedpeft_secure.clients.groups import group_indices, group_names
from fedpeft_secure.data import LabelledTexts
from fedpeft_secure.errors import DataError

MakeConfig = Callable[..., Config]
GROUPS = {"strict": {"epsilon": 1.0, "share": 0.3}, "open": {"epsilon": 8.0, "share": 0.7}}


def texts(count: int, *, column: tuple[str, ...] | None = None) -> LabelledTexts:
    return LabelledTexts(
        texts=tuple(f"text {row}" for row in range(count)), labels=np.arange(count) % 2, budget_groups=column
    )


def test_without_groups_there_are_none(tiny_config: MakeConfig) -> None:
    assert group_names(texts(3), tiny_config(), "client-1") == ()
    assert group_indices(texts(3), tiny_config(), "client-1") is None


def test_examples_are_dealt_by_the_public_shares(tiny_config: MakeConfig) -> None:
    found = group_names(texts(4000), tiny_config({"privacy.groups": GROUPS}), "client-1")
    assert np.mean([name == "strict" for name in found]) == pytest.approx(0.3, abs=0.03)


def test_an_example_more_changes_nobody_elses_group(tiny_config: MakeConfig) -> None:
    config = tiny_config({"privacy.groups": GROUPS})
    assert group_names(texts(101), config, "client-1")[:100] == group_names(texts(100), config, "client-1")
    other = tiny_config({"privacy.groups": GROUPS, "seed": 1})
    assert group_names(texts(100), other, "client-1") != group_names(texts(100), config, "client-1")


def test_a_column_decides_where_there_is_one(tiny_config: MakeConfig) -> None:
    config = tiny_config({"privacy.groups": GROUPS})
    column = ("strict", "open", "open")
    assert group_names(texts(3, column=column), config, "client-1") == column
    indices = group_indices(texts(3, column=column), config, "client-1")
    assert indices is not None
    assert indices.tolist() == [1, 0, 0], "alphabetically, as the plan lists them"


def test_a_value_that_is_no_group_is_refused(tiny_config: MakeConfig) -> None:
    config = tiny_config({"privacy.groups": GROUPS})
    with pytest.raises(DataError, match=r"data.budget_group: 'none' is no group of client-1, which has open, strict"):
        group_names(texts(2, column=("open", "none")), config, "client-1")


def test_a_client_may_have_groups_of_its_own_or_none(tiny_config: MakeConfig) -> None:
    own = {"client-2": {"groups": {"all": {"epsilon": 2.0, "share": 1.0}}}, "client-3": {"groups": {}}}
    config = tiny_config({"privacy.groups": GROUPS, "privacy.per_client": own})
    assert set(group_names(texts(9), config, "client-2")) == {"all"}
    assert group_names(texts(9), config, "client-3") == ()
    assert config.epsilon_of("client-2") == 2.0
    assert config.epsilon_of("client-1") == 8.0
