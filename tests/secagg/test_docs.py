import re
from pathlib import Path

import numpy as np
import pytest

import secagg

PAGE = Path(__file__).parents[2] / "docs" / "secure-sum.md"


@pytest.mark.parametrize("page", [PAGE, PAGE.with_name("one-message-sums.md")], ids=lambda page: page.stem)
def test_the_example_runs(page):
    (example,) = re.findall(r"```python\n(.*?)```", page.read_text(), flags=re.S)
    exec(compile(example, str(page), "exec"), {"np": np})  # noqa: S102 - our own page


def test_the_table_of_the_page_is_computed():
    rows = re.findall(r"^\| (\d+) \| (\d+) / (\d+) \| (\d+) / (\d+) \|$", PAGE.read_text(), flags=re.M)
    assert len(rows) == 2
    for clients, *numbers in ([int(cell) for cell in row] for row in rows):
        plans = [
            secagg.plan_graph(clients, adversarial_fraction=0.1, dropout_fraction=0.1, malicious_server=malicious)
            for malicious in (False, True)
        ]
        assert numbers == [number for plan in plans for number in (plan.degree, plan.threshold)]


def test_the_bytes_of_the_table_are_computed():
    """Uploads and round keys in docs/one-message-sums.md, for 100 clients and 100,000 values of 16 bits."""
    page = PAGE.with_name("one-message-sums.md").read_text()
    names = tuple(f"client-{i:06}" for i in range(100))
    cohort = secagg.Cohort.with_key_holder(names, secagg.seeded_entropy(b"table"))
    for protocol, name in ((secagg.HelperSum(), "helper"), (secagg.CkksSum(), "CKKS"), (secagg.BfvSum(), "BFV")):
        (row,) = re.findall(rf"^\| {name} \| ([\d.]+) \| ([\d,]+) \| ([\d,]+) \| [\d.]+ \| [\d.]+", page, flags=re.M)
        plan = protocol.plan(clients=names, dim=100_000, directory=cohort.directory)
        scheme = protocol.scheme(plan)
        upload = scheme.body_bytes + scheme.capsule_bytes + 64
        assert row == (f"{upload / 400_000:.2f}", f"{upload:,}", f"{scheme.public_bytes + 64:,}")
