from itertools import pairwise

import numpy as np
import pytest

import secagg
from tests.contracts.secure_sum import SecureSumContract, some_vectors
from tests.secagg.rounds import ALL_PHASES, NAMES, close, make_round


class TestMaskedSumMalicious(SecureSumContract):
    def make(self, codec):
        return secagg.MaskedSum(codec=codec)


class TestMaskedSumCurious(SecureSumContract):
    def make(self, codec):
        return secagg.MaskedSum(codec=codec, malicious_server=False)


@pytest.mark.parametrize("malicious", [True, False])
@pytest.mark.parametrize("num_clients", [5, 6, 9, 16, 30])
def test_cohorts_of_any_size_even_and_odd(num_clients, malicious):
    vectors = some_vectors(tuple(f"c{i}" for i in range(num_clients)))
    drop = {"upload": {"c1"}}
    result = secagg.simulate(secagg.MaskedSum(malicious_server=malicious), vectors, drop=drop, seed=3)
    assert close(result, vectors)
    assert len(result.survivors) == num_clients - 1


@pytest.mark.parametrize(("first", "second"), list(pairwise(ALL_PHASES)))
def test_two_clients_vanish_in_two_phases(first, second):
    vectors = some_vectors(tuple(f"c{i:02}" for i in range(24)))
    result = secagg.simulate(secagg.MaskedSum(), vectors, drop={first: {"c01"}, second: {"c17"}}, seed=3)
    assert close(result, vectors)


@pytest.mark.parametrize("phase", ALL_PHASES)
def test_too_many_vanish(phase):
    drop = {phase: {f"client-{i}" for i in range(5)}}
    with pytest.raises(secagg.ProtocolError):
        secagg.simulate(secagg.MaskedSum(), some_vectors(), drop=drop, seed=1)


@pytest.mark.parametrize("malicious", [True, False])
def test_the_transcript_holds_no_contribution(malicious):
    round_ = make_round(malicious=malicious, dim=64)
    seen = round_.finish(())
    uploads = {e.sender: e.payload for e in round_.transcript.between(phase="upload", recipient="server")}
    assert close(seen, round_.vectors)
    rng = np.random.default_rng(0)
    for name in NAMES:
        rng.uniform(-1, 1, 64)
        size = round_.plan.layout.packed_bytes
        residues = round_.plan.layout.unpack(uploads[name][:size])[0]
        values = round_.plan.codec.centred(residues, layout=round_.plan.layout) * round_.plan.codec.step
        assert abs(np.corrcoef(values, round_.vectors[name])[0, 1]) < 0.6
        plain = round_.plan.encode(name, round_.vectors[name], rng=np.random.default_rng(1))
        assert (np.abs(plain.residues[0].astype(int) - residues.astype(int)) > 2).mean() > 0.9


def test_a_malicious_plan_needs_a_directory():
    with pytest.raises(secagg.PlanError, match="key directory"):
        secagg.MaskedSum().plan(clients=NAMES, dim=3)
    with pytest.raises(secagg.PlanError, match="key directory"):
        secagg.MaskedSum().server(make_round().plan)


def test_a_masked_sum_needs_a_graph():
    plan = secagg.PlainSum().plan(clients=NAMES, dim=3)
    with pytest.raises(secagg.PlanError, match="graph"):
        secagg.MaskedSum().server(plan)
    contribution = plan.encode("client-0", np.zeros(3), rng=np.random.default_rng(0))
    with pytest.raises(secagg.RefusedError, match="graph"):
        secagg.MaskedSum().client(plan, member=secagg.Member(name="client-0"), contribution=contribution)


def test_a_contribution_of_another_layout_is_refused():
    short, long = make_round(dim=3), make_round(dim=4)
    contribution = long.plan.encode("client-0", np.zeros(4), rng=np.random.default_rng(0))
    member = secagg.Member(
        name="client-0", identity=short.cohort.identities["client-0"], directory=short.cohort.directory
    )
    with pytest.raises(secagg.CodecError, match="another layout"):
        secagg.MaskedSum().client(short.plan, member=member, contribution=contribution)


def test_a_sampled_cohort_is_planned_with_the_corrupt_clients_of_the_directory():
    everybody = secagg.Cohort.generate(tuple(f"client-{i}" for i in range(40)), secagg.seeded_entropy(b"x"))
    plan = secagg.MaskedSum().plan(clients=NAMES, dim=3, directory=everybody.directory)
    member = secagg.Member(
        name="client-0",
        identity=everybody.identities["client-0"],
        directory=everybody.directory,
        adversarial_fraction=0.1,
    )
    contribution = plan.encode("client-0", np.zeros(3), rng=np.random.default_rng(0))
    with pytest.raises(secagg.RefusedError, match="directory-wide"):
        secagg.MaskedSum().client(plan, member=member, contribution=contribution)
    wide = secagg.MaskedSum().plan(clients=NAMES, dim=3, directory=everybody.directory, colluders=4)
    assert wide.graph.colluders == 4
    contribution = wide.encode("client-0", np.zeros(3), rng=np.random.default_rng(0))
    assert not secagg.MaskedSum().client(wide, member=member, contribution=contribution).done
