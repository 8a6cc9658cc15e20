import fcntl
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import secagg
from fedpeft_secure import cli
from fedpeft_secure.engines.in_process import run_round
from fedpeft_secure.errors import InputError
from fedpeft_secure.events import ignore
from fedpeft_secure.key_holder import (
    LOCK,
    STATE,
    SimulatedKeyHolder,
    answer_request,
    load_holder_identity,
    make_key_holder,
)
from fedpeft_secure.secure_sums import sum_plan
from fedpeft_secure.seeds import Seed
from fedpeft_secure.server.job import training_run
from fedpeft_secure.server.planning import plan_round

NAMES = tuple(f"client-{index}" for index in range(5))


@pytest.fixture
def party(tmp_path):
    """A key holder on disk, the other parties, and a plan that they all pinned."""
    folder = tmp_path / "holder"
    public = make_key_holder(folder).public
    clients = secagg.Cohort.generate(NAMES)
    directory = secagg.KeyDirectory(members=clients.directory.members, key_holder=public)
    (tmp_path / "directory").write_bytes(directory.to_bytes())
    return folder, tmp_path / "directory", secagg.Cohort(identities=clients.identities, directory=directory)


def a_round(cohort, *, protocol=None, attempt=0, min_cohort=3, gone=()):
    """The sessions of a round, but for the key holder's."""
    protocol = protocol or secagg.HelperSum(min_cohort=min_cohort)
    plan = protocol.plan(clients=NAMES, dim=6, directory=cohort.directory, attempt=attempt)
    clients = {}
    for name in NAMES:
        member = secagg.Member(name=name, identity=cohort.identities[name], directory=cohort.directory)
        contribution = plan.encode(name, np.full(6, 0.25), rng=np.random.default_rng(attempt))
        if name not in gone:
            clients[name] = protocol.client(plan, member=member, contribution=contribution)
    return plan, protocol.server(plan, directory=cohort.directory), clients


def through_the_command(folder, directory, request):
    arguments = ["key-holder", "answer", str(folder), "--directory", str(directory)]
    return CliRunner().invoke(cli.app, arguments, input=request.to_bytes())


@pytest.mark.parametrize("protocol", [secagg.HelperSum(), secagg.BfvSum(), secagg.CkksSum()])
def test_a_round_with_a_key_holder_in_other_processes(party, protocol):
    folder, directory, cohort = party
    plan, server, clients = a_round(cohort, protocol=protocol)
    announced = through_the_command(folder, directory, secagg.HolderRequest(plan=plan, phase="announce"))
    assert announced.exit_code == 0, announced.output
    server, requests = server.step((secagg.Envelope.from_bytes(announced.stdout_bytes),))
    uploads = [clients[e.recipient].step((e,))[1][0] for e in requests]
    server, (question,) = server.step(tuple(uploads))
    asked = secagg.HolderRequest(plan=plan, phase="open", payload=question.payload)
    opened = through_the_command(folder, directory, asked)
    server, _ = server.step((secagg.Envelope.from_bytes(opened.stdout_bytes),))
    assert server.result.survivors == NAMES
    assert np.abs(server.result.mean - 0.25).max() < 1e-4
    again = through_the_command(folder, directory, asked)
    assert (again.exit_code, again.stdout_bytes) == (1, b"")
    assert "answered before" in again.stderr or "announced before" in again.stderr


def test_files_are_for_the_owner_only_and_are_made_once(party):
    folder, _, _ = party
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert [stat.S_IMODE(path.stat().st_mode) for path in sorted(folder.iterdir())] == [0o600, 0o600]
    with pytest.raises(InputError, match=r"--out .*: File exists; give a new directory"):
        make_key_holder(folder)


def test_init_prints_the_public_half_and_nothing_else(tmp_path):
    done = CliRunner().invoke(cli.app, ["key-holder", "init", "--out", str(tmp_path / "new")])
    private = (tmp_path / "new" / "identity.key").read_bytes()
    assert done.stdout.strip() == secagg.Identity.from_private(private).public.hex()
    assert private.hex() not in done.output


def test_an_interrupted_init_leaves_nothing_in_the_way(tmp_path, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(secagg.Identity, "save", interrupted)
        with pytest.raises(KeyboardInterrupt):
            make_key_holder(tmp_path / "holder")
    make_key_holder(tmp_path / "holder")


def test_an_encrypted_identity_opens_with_its_passphrase_only(tmp_path, monkeypatch):
    for name in ("right", "wrong"):
        (tmp_path / name).write_text(f"{name}\n")
    folder, directory = tmp_path / "holder", tmp_path / "directory"
    arguments = ["key-holder", "init", "--out", str(folder), "--passphrase-file", str(tmp_path / "right")]
    public = bytes.fromhex(CliRunner().invoke(cli.app, arguments).stdout.strip())
    assert load_holder_identity(folder, passphrase=b"right").public == public
    clients = secagg.Cohort.generate(NAMES)
    pinned = secagg.KeyDirectory(members=clients.directory.members, key_holder=public)
    directory.write_bytes(pinned.to_bytes())
    plan, _, _ = a_round(secagg.Cohort(identities=clients.identities, directory=pinned))
    request = secagg.HolderRequest(plan=plan, phase="announce")
    before = (folder / STATE).read_bytes()
    refused = through_the_command(folder, directory, request)
    assert (refused.exit_code, "this identity is encrypted" in refused.stderr) == (2, True)
    monkeypatch.setenv("FEDPEFT_PASSPHRASE", "wrong")
    refused = through_the_command(folder, directory, request)
    assert (refused.exit_code, refused.stdout_bytes, (folder / STATE).read_bytes()) == (2, b"", before)
    monkeypatch.setenv("FEDPEFT_PASSPHRASE", "right")
    assert through_the_command(folder, directory, request).exit_code == 0


def test_the_key_waits_on_the_disk_and_is_gone_after_its_use(party):
    folder, directory, cohort = party
    identity = load_holder_identity(folder)
    plan, server, clients = a_round(cohort)
    ask = secagg.HolderRequest(plan=plan, phase="announce").to_bytes()
    announced = answer_request(folder, ask, identity=identity, directory=directory, min_cohort=3)
    (waiting,) = secagg.HolderMemory.from_bytes((folder / STATE).read_bytes()).open
    with pytest.raises(secagg.RefusedError, match="announced before"):
        answer_request(folder, ask, identity=identity, directory=directory, min_cohort=3)
    server, requests = server.step((secagg.Envelope.from_bytes(announced),))
    uploads = tuple(clients[e.recipient].step((e,))[1][0] for e in requests)
    _, (question,) = server.step(uploads)
    asked = secagg.HolderRequest(plan=plan, phase="open", payload=question.payload).to_bytes()
    with pytest.raises(secagg.RefusedError, match="min_cohort = 3 is below this key holder's 4"):
        answer_request(folder, asked, identity=identity, directory=directory, min_cohort=4)
    answer_request(folder, asked, identity=identity, directory=directory, min_cohort=3)
    assert waiting.secret not in (folder / STATE).read_bytes()
    assert stat.S_IMODE((folder / STATE).stat().st_mode) == 0o600


def test_what_cannot_be_used_is_one_line(party, tmp_path):
    folder, directory, cohort = party
    identity = load_holder_identity(folder)
    with pytest.raises(InputError, match=r"No such file .*; `fedpeft key-holder init` makes a key holder"):
        load_holder_identity(tmp_path / "nowhere")
    plan, _, _ = a_round(cohort)
    ask = secagg.HolderRequest(plan=plan, phase="announce").to_bytes()
    with pytest.raises(InputError, match=r"No such file .*; `fedpeft key-holder init` makes a key holder"):
        answer_request(tmp_path / "nowhere", ask, identity=identity, directory=directory, min_cohort=3)
    with pytest.raises(InputError, match="No such file"):
        answer_request(folder, ask, identity=identity, directory=tmp_path / "nothing", min_cohort=3)
    with pytest.raises(secagg.WireError, match="request"):
        answer_request(folder, ask[:-1], identity=identity, directory=directory, min_cohort=3)
    with (folder / LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(InputError, match="another process answers"):
            answer_request(folder, ask, identity=identity, directory=directory, min_cohort=3)
    (folder / STATE).write_bytes(b"broken")
    with pytest.raises(InputError, match=r"state\.bin: .*; restore the newest copy of it"):
        answer_request(folder, ask, identity=identity, directory=directory, min_cohort=3)


@pytest.mark.parametrize("damage", ["identity gone", "identity short", "keys short", "lock", "state", "request"])
def test_bad_input_of_the_command_is_one_line_and_changes_nothing(party, damage):
    folder, directory, cohort = party
    plan, _, _ = a_round(cohort)
    ask = secagg.HolderRequest(plan=plan, phase="announce").to_bytes()
    if damage == "identity gone":
        (folder / "identity.key").unlink()
    elif damage == "identity short":
        (folder / "identity.key").write_bytes(b"short")
    elif damage == "keys short":
        directory.write_bytes(directory.read_bytes()[:-1])
    elif damage == "lock":
        (folder / LOCK).mkdir()
    elif damage == "state":
        (folder / f".{STATE}.part").mkdir()  # as on a disk that takes no file
    else:
        ask = ask[:-1]
    before = (folder / STATE).read_bytes()
    arguments = ["key-holder", "answer", str(folder), "--directory", str(directory)]
    done = CliRunner().invoke(cli.app, arguments, input=ask)
    assert (done.exit_code, done.stdout_bytes, len(done.stderr.splitlines())) == (2, b"", 1)
    assert done.stderr.startswith("fedpeft: ")
    assert (folder / STATE).read_bytes() == before


def test_an_answer_that_cannot_be_written_is_lost_and_said_so(party):
    folder, directory, cohort = party
    plan, _, _ = a_round(cohort)
    command = "from fedpeft_secure.cli import main; main()"
    with Path("/dev/full").open("wb", buffering=0) as full:
        done = subprocess.run(
            [sys.executable, "-c", command, "key-holder", "answer", folder, "--directory", directory],
            input=secagg.HolderRequest(plan=plan, phase="announce").to_bytes(),
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert done.returncode == 2
    (line,) = done.stderr.decode().splitlines()
    assert line.startswith("fedpeft: standard output: No space left on device; this answer is lost")


def test_half_a_key_holder_is_not_left_behind(tmp_path, monkeypatch):
    def full(*_args, **_options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("fedpeft_secure.key_holder.write_atomically", full)
    with pytest.raises(InputError, match="No space left"):
        make_key_holder(tmp_path / "holder")
    assert list(tmp_path.iterdir()) == []


def play(federation, **changes):
    plan = plan_round(
        federation.config,
        run=federation.run,
        round_number=1,
        attempt=0,
        state=federation.start,
        strategy=federation.strategy,
        budgets=federation.budgets,
    ).model_copy(update=changes)
    return run_round(
        plan,
        federation.start,
        federation.clients,
        strategy=federation.strategy,
        spec=federation.backbone.spec,
        directory=federation.keys.directory,
        key_holder=federation.key_holder,
        drop={},
        listen=ignore,
    )


PROTOCOLS = ("plain", "masked", "helper", "bfv", "ckks")


@pytest.mark.parametrize("privacy", [{}, {"privacy.epsilon": "inf"}])
def test_every_protocol_adds_up_the_same_integers(make_federation, privacy):
    outcomes = {
        protocol: play(make_federation({"secure_sum.protocol": protocol, "secure_sum.server": "curious", **privacy}))
        for protocol in PROTOCOLS
    }
    sums = {protocol: outcome.aggregate for protocol, outcome in outcomes.items()}
    for protocol in PROTOCOLS:
        assert sums[protocol] is not None, outcomes[protocol].failure
        assert (sums[protocol].integers == sums["plain"].integers).all()
        assert (sums[protocol].mean == sums["plain"].mean).all()
        assert sums[protocol].total_weight == sums["plain"].total_weight
    assert np.abs(sums["plain"].integers).max() > 100


def test_the_same_seed_gives_the_same_adapter_under_every_protocol(tiny_config, tmp_path):
    adapters = {}
    for protocol in PROTOCOLS[1:]:
        config = tiny_config({"secure_sum.protocol": protocol, "secure_sum.server": "curious"})
        with training_run(config, tmp_path / protocol, resume=False, listen=ignore) as trained:
            assert [record.failure for record in trained.progress.records] == ["", ""]
            adapters[protocol] = trained.progress.state.digest()
    assert len(set(adapters.values())) == 1


def test_an_interrupted_round_is_sent_again_as_the_same_bytes(make_federation):
    federation = make_federation({"secure_sum.protocol": "bfv", "secure_sum.server": "curious"})
    first = play(federation)
    federation.key_holder.memory = secagg.HolderMemory()  # as after a restart of the whole simulation
    again = play(federation)
    assert again.refusals == ()
    assert again.transcript.to_bytes() == first.transcript.to_bytes()


def test_the_key_holder_answers_once_a_round(make_federation):
    federation = make_federation({"secure_sum.protocol": "helper"})
    assert play(federation).aggregate is not None
    second = play(federation)
    assert second.aggregate is None
    assert "announced before" in second.failure


def test_the_key_holder_has_terms_of_its_own(make_federation):
    federation = make_federation({"secure_sum.protocol": "helper"})
    federation.key_holder.min_cohort = 4
    assert "the key holder refuses round 1: min_cohort is below 4" in play(federation).failure


def test_two_rounds_side_by_side_do_not_bring_a_used_key_back(make_plan):
    keys = secagg.Cohort.with_key_holder(make_plan().cohort)
    party = SimulatedKeyHolder(keys=keys, min_cohort=3, seed=Seed(0))
    plans = [make_plan(protocol="helper", attempt=attempt) for attempt in (0, 1)]
    sessions = [party.session(plan, sum_plan(plan, dim=3, directory=keys.directory)) for plan in plans]
    (first, _), (second, _) = (session.step(()) for session in sessions)
    party.keep(first.memory)
    with pytest.raises(secagg.RefusedError, match="another session of this key holder"):
        party.keep(second.memory)
    assert party.memory == first.memory


def test_a_plain_round_has_no_third_party(make_plan):
    keys = secagg.Cohort.with_key_holder(NAMES)
    party = SimulatedKeyHolder(keys=keys, min_cohort=3, seed=Seed(0))
    plan = make_plan(protocol="plain")
    assert party.session(plan, sum_plan(plan, dim=3, directory=keys.directory)) is None
