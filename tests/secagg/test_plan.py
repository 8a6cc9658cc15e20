from dataclasses import replace

import numpy as np
import pytest

import secagg
from secagg.manifest import Entry
from secagg.plan import SumPlan

NAMES = ("a", "b", "c", "d", "e")
GRAPH = secagg.plan_graph(5, adversarial_fraction=0.1, dropout_fraction=0.1, malicious_server=True)
PLAN = SumPlan(
    protocol="masked",
    run="r",
    clients=NAMES,
    dim=4,
    codec=secagg.FixedPoint(clip=1.0, max_weight=3),
    weights=(1, 2, 3, 1, 1),
    min_cohort=2,
    graph=GRAPH,
)


def test_the_digest_covers_every_field():
    other_graph = secagg.plan_graph(5, adversarial_fraction=0.1, dropout_fraction=0.1, malicious_server=False)
    changed = {
        "protocol": "plain",
        "run": "s",
        "round": 1,
        "attempt": 1,
        "clients": ("a", "b", "c", "d", "f"),
        "dim": 5,
        "codec": secagg.FixedPoint(clip=2.0, max_weight=3),
        "weights": (1, 2, 3, 1, 2),
        "min_cohort": 3,
        "manifest": secagg.Manifest.whole_model(bytes(32)),
        "graph": other_graph,
        "directory": bytes(32),
        "noised": True,
        "max_norm": 1.0,
    }
    digests = {PLAN.digest()} | {replace(PLAN, **{field: value}).digest() for field, value in changed.items()}
    assert set(changed) == set(PLAN.__dataclass_fields__)
    assert len(digests) == len(changed) + 1
    for codec in (
        secagg.FixedPoint(clip=1.0, max_weight=4),
        secagg.FixedPoint(clip=1.0, bits=8, max_weight=3),
        secagg.FixedPoint(clip=1.0, max_weight=3, max_saturated=0.5),
    ):
        assert replace(PLAN, codec=codec).digest() not in digests
    assert replace(PLAN, graph=None).digest() not in digests
    assert replace(PLAN, weights=None).digest() not in digests


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"clients": ("b", "a", "c", "d", "e")}, "sorted"),
        ({"clients": ("a", "a", "c", "d", "e")}, "unique"),
        ({"clients": ("a", "b", "c", "d", "server")}, "server"),
        ({"clients": (), "graph": None}, "clients"),
        ({"clients": ("a", "b\0", "c", "d", "e")}, "NUL"),
        ({"dim": 0}, "dim"),
        ({"round": -1}, "round"),
        ({"min_cohort": 6}, "min_cohort"),
        ({"min_cohort": 0}, "min_cohort"),
        ({"codec": secagg.FixedPoint(clip=1.0)}, "max_weight"),
        ({"weights": (1, 1)}, "one integer"),
        ({"weights": (0, 1, 1, 1, 1)}, "one integer"),
        ({"weights": (9, 1, 1, 1, 1)}, "raise max_weight"),
        ({"clients": ("a", "b"), "weights": (1, 1)}, "graph is planned for 5"),
        ({"max_norm": 0.0}, "max_norm"),
        ({"manifest": secagg.Manifest(entries={"z": Entry(parts=(), covered=())})}, "not in the cohort"),
        ({"manifest": secagg.Manifest(entries={"a": Entry(parts=(), covered=((0, 5),))})}, "beyond dim"),
    ],
)
def test_impossible_plans(change, message):
    with pytest.raises(secagg.PlanError, match=message):
        replace(PLAN, **change)


def test_positions_and_weights():
    assert PLAN.position("c") == 2
    assert PLAN.public_weight("c") == 3
    assert replace(PLAN, weights=None).public_weight("c") is None
    with pytest.raises(secagg.PlanError, match="not in this round's cohort"):
        PLAN.position("z")


def test_encoding_uses_the_public_weight():
    rng = np.random.default_rng(0)
    for weight in (None, 2):
        contribution = PLAN.encode("b", np.ones(4), weight=weight, rng=rng)
        assert (np.abs(contribution.residues[0].astype(int) - 32767 * 2 / 3) < 1).all()
    with pytest.raises(secagg.PlanError, match="contradicts its public weight"):
        PLAN.encode("b", np.ones(4), weight=1, rng=rng)
    summed = replace(PLAN, weights=None)
    assert summed.encode("b", np.ones(4), weight=3, rng=rng).residues[1].tolist() == [3]
    assert summed.encode("b", np.ones(4), rng=rng).residues[1].tolist() == [1]


def test_a_retry_is_another_session():
    assert PLAN.next_attempt().attempt == 1
    assert PLAN.next_attempt().digest() != PLAN.digest()


def test_guaranteed_honest_survivors():
    assert PLAN.guaranteed_honest == 3  # itself and three neighbours, one of them corrupt
    assert replace(PLAN, min_cohort=5).guaranteed_honest == 4
    assert replace(PLAN, graph=None).guaranteed_honest == 2


def test_guaranteed_honest_survivors_of_a_sparse_graph():
    """A lying server can cut a sparse ring in parts and open each: a large min_cohort then protects nobody."""
    names = tuple(f"{index:04}" for index in range(1000))
    lying, curious = (
        secagg.plan_graph(1000, adversarial_fraction=0.1, dropout_fraction=0.1, malicious_server=malicious)
        for malicious in (True, False)
    )
    plan = replace(PLAN, clients=names, weights=(1,) * 1000, graph=lying, min_cohort=800)
    corrupt_neighbours = 2 * lying.threshold - lying.degree - 1  # as many as the plan's proof allows
    assert not lying.complete
    assert plan.guaranteed_honest == lying.threshold + 1 - corrupt_neighbours < 100
    assert replace(plan, graph=curious).guaranteed_honest == 700


def test_weights_follow_their_clients_into_the_sorted_cohort():
    plan = secagg.PlainSum().plan(clients=("c", "a", "b"), dim=1, weights=(3, 1, 2))
    assert plan.clients == ("a", "b", "c")
    assert plan.weights == (1, 2, 3)
    assert plan.codec.max_weight == 3
    with pytest.raises(secagg.PlanError, match="2 weights for 3 clients"):
        secagg.PlainSum().plan(clients=("c", "a", "b"), dim=1, weights=(3, 1))
