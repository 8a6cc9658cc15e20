import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import secagg
from fedpeft_secure.errors import ConfigError
from fedpeft_secure.secure_sums import MODEL_PART, corrupt_clients, guaranteed_honest, secure_sum, sum_plan

NAMES = tuple(f"client-{index}" for index in range(1, 13))


@pytest.fixture(scope="module")
def keys() -> secagg.Cohort:
    """Twelve clients, more than the cohort of five that `make_plan` has."""
    return secagg.Cohort.generate(NAMES, secagg.seeded_entropy(b"keys"))


@pytest.fixture(scope="module")
def five() -> secagg.KeyDirectory:
    return secagg.Cohort.generate(NAMES[:5], secagg.seeded_entropy(b"keys")).directory


def test_a_masked_plan_says_what_the_round_plan_says(make_plan, five: secagg.KeyDirectory) -> None:
    plan = make_plan(codec_clip=0.5, codec_bits=20, min_cohort=4, dropout_fraction=0.2, round=7, attempt=2)
    sums = sum_plan(plan, dim=33, directory=five)
    assert (sums.protocol, sums.run, sums.round, sums.attempt) == ("masked", "run", 7, 2)
    assert (sums.clients, sums.dim, sums.min_cohort) == (tuple(sorted(plan.cohort)), 33, 4)
    assert (sums.codec.clip, sums.codec.bits) == (0.5, 20)
    assert sums.directory == five.fingerprint
    assert sums.max_norm == plan.max_norm(33)
    assert sums.graph is not None
    assert sums.graph.malicious_server


def test_every_member_is_bound_to_the_model(make_plan, five: secagg.KeyDirectory) -> None:
    plan = make_plan()
    assert sum_plan(plan, dim=3, directory=five).manifest.parts == {MODEL_PART: bytes.fromhex(plan.model_hash)}


def test_without_dp_a_repeated_model_is_the_same_model_in_every_round(make_plan, five: secagg.KeyDirectory) -> None:
    digests = {
        sum_plan(make_plan(round=number, private=False), dim=3, directory=five).manifest.digest for number in (1, 2)
    }
    assert len(digests) == 1


def test_under_privacy_weights_are_public_and_equal(make_plan, five: secagg.KeyDirectory) -> None:
    sums = sum_plan(make_plan(private=True), dim=3, directory=five)
    assert sums.weights == (1,) * 5
    assert sums.noised
    assert [segment.name for segment in sums.layout.segments] == ["values"]


def test_without_privacy_counts_travel_inside_the_sum(make_plan, five: secagg.KeyDirectory) -> None:
    sums = sum_plan(make_plan(private=False), dim=3, directory=five)
    assert sums.weights is None
    assert not sums.noised
    assert [segment.name for segment in sums.layout.segments] == ["values", "weight"]
    assert sums.codec.max_weight == 4 * 40


def test_a_plain_sum_needs_no_graph(make_plan, keys: secagg.Cohort) -> None:
    plan = make_plan(protocol="plain", min_cohort=2, cohort=NAMES[:2])
    assert isinstance(secure_sum(plan), secagg.PlainSum)
    assert sum_plan(plan, dim=3, directory=keys.directory).graph is None


def test_a_curious_server_needs_fewer_neighbours(make_plan) -> None:
    assert secure_sum(make_plan(malicious_server=False)).phases != secure_sum(make_plan()).phases


def test_an_unknown_protocol_is_refused(make_plan) -> None:
    with pytest.raises(ConfigError, match=r"no protocol 'sum'; there are plain, masked, helper, bfv, ckks"):
        secure_sum(make_plan(protocol="sum"))


@pytest.mark.parametrize("protocol", ["helper", "bfv", "ckks"])
def test_a_sum_in_one_message_hides_everybody_among_min_cohort(make_plan, protocol: str) -> None:
    keys = secagg.Cohort.with_key_holder(NAMES, secagg.seeded_entropy(b"keys"))
    plan = make_plan(protocol=protocol, cohort=NAMES, min_cohort=5, malicious_server=False)
    sums = sum_plan(plan, dim=3, directory=keys.directory)
    assert (sums.protocol, sums.min_cohort, sums.graph) == (protocol, 5, None)
    assert guaranteed_honest(plan, dim=3, directory=keys.directory) == 5 - 2


def test_the_graph_decides_how_many_honest_clients_a_masked_sum_holds(make_plan, five: secagg.KeyDirectory) -> None:
    plan = make_plan()
    sums = sum_plan(plan, dim=3, directory=five)
    assert guaranteed_honest(plan, dim=3, directory=five) == sums.guaranteed_honest


def test_a_cohort_that_cannot_bear_the_adversary_is_refused(make_plan, keys: secagg.Cohort) -> None:
    with pytest.raises(secagg.PlanError, match="4 clients cannot bear"):
        sum_plan(make_plan(cohort=NAMES[:4]), dim=3, directory=keys.directory)


def test_a_chosen_cohort_must_bear_the_corrupt_clients_of_the_whole_directory(make_plan, keys: secagg.Cohort) -> None:
    everybody = sum_plan(make_plan(cohort=NAMES), dim=3, directory=keys.directory)
    some = sum_plan(make_plan(cohort=NAMES[:8]), dim=3, directory=keys.directory)
    assert everybody.graph is not None
    assert some.graph is not None
    assert everybody.graph.colluders == some.graph.colluders == 2


def test_members_of_a_chosen_cohort_accept_its_plan(make_plan, keys: secagg.Cohort) -> None:
    plan = make_plan(cohort=NAMES[:8])
    sums = sum_plan(plan, dim=3, directory=keys.directory)
    rng = np.random.default_rng(0)
    sessions = {
        name: secure_sum(plan).client(
            sums,
            member=secagg.Member(
                name=name,
                identity=keys.identities[name],
                directory=keys.directory,
                received={MODEL_PART: bytes.fromhex(plan.model_hash)},
                min_cohort=3,
                adversarial_fraction=plan.adversarial_fraction,
                malicious_server=True,
                noised=True,
            ),
            contribution=sums.encode(name, np.full(3, position / 4), rng=rng),
        )
        for position, name in enumerate(plan.cohort)
    }
    server = secure_sum(plan).server(sums, directory=keys.directory)
    found = secagg.drive(server, sessions, secagg.Recorder())
    assert np.abs(found.mean - np.mean(np.arange(8) / 4)).max() < 1e-3


@given(percent=st.integers(0, 99), population=st.integers(1, 2000))
def test_corrupt_clients_are_rounded_up_as_written(percent: int, population: int) -> None:
    assert corrupt_clients(percent / 100, population) == max(1, -(-percent * population // 100))
