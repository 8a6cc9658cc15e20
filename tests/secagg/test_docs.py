import re
from pathlib import Path

import numpy as np

import secagg

PAGE = Path(__file__).parents[2] / "docs" / "secure-sum.md"


def test_the_example_runs():
    (example,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.S)
    exec(compile(example, str(PAGE), "exec"), {"np": np})  # noqa: S102 - our own page


def test_the_table_of_the_page_is_computed():
    rows = re.findall(r"^\| (\d+) \| (\d+) / (\d+) \| (\d+) / (\d+) \|$", PAGE.read_text(), flags=re.M)
    assert len(rows) == 2
    for clients, *numbers in ([int(cell) for cell in row] for row in rows):
        plans = [
            secagg.plan_graph(clients, adversarial_fraction=0.1, dropout_fraction=0.1, malicious_server=malicious)
            for malicious in (False, True)
        ]
        assert numbers == [number for plan in plans for number in (plan.degree, plan.threshold)]
