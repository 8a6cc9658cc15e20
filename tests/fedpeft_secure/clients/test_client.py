from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

import dp
import secagg
from dp.errors import NonFiniteUpdate, NotPerExample
from fedpeft_secure import Config
from fedpeft_secure.adapters import AdapterState
from fedpeft_secure.aggregation import choose_strategy
from fedpeft_secure.budgets import ClientBudget, GroupBudget
from fedpeft_secure.clients import trainer as trainer_module
from fedpeft_secure.clients.backbone import Backbone
from fedpeft_secure.clients.batches import Examples
from fedpeft_secure.clients.client import Client
from fedpeft_secure.clients.personal import PersonalValues
from fedpeft_secure.clients.policy import simulated_policy
from fedpeft_secure.clients.randomness import SecureRandomness, SeededRandomness
from fedpeft_secure.errors import PolicyError, TrainingFailedError
from fedpeft_secure.plans import OwnTerms, RoundPlan, pack_request
from fedpeft_secure.secure_sums import sum_plan
from fedpeft_secure.seeds import Seed
from fedpeft_secure.server.planning import plan_round

ME = "client-2"


@dataclass(frozen=True)
class Party:
    """One client, and what the server knows."""

    client: Client
    config: Config
    state: AdapterState
    keys: secagg.Cohort
    budgets: tuple[ClientBudget, ...]

    def plan(self, **changes: object) -> RoundPlan:
        made = plan_round(
            self.config,
            run="run",
            round_number=1,
            attempt=0,
            state=self.state,
            strategy=self.client.strategy,
            budgets=self.budgets,
        )
        return RoundPlan.model_validate({**made.model_dump(), **changes})

    def request(self, **changes: object) -> bytes:
        return pack_request(self.plan(**changes), self.state)

    def upload(self, request: bytes) -> bytes:
        """What leaves the client in a plain sum."""
        _, (envelope,) = self.client.open_session(request).step(())
        return envelope.payload

    @property
    def charges(self) -> tuple[dp.Charge, ...]:
        return self.client.ledger.history(ME)


@pytest.fixture
def party(
    tiny_config: Callable[..., Config],
    backbone: Backbone,
    start: AdapterState,
    examples: Examples,
    tmp_path: Path,
) -> Iterator[Callable[..., Party]]:
    """Makes a client of a plain sum unless told otherwise."""
    ledgers: list[dp.Ledger] = []

    def make(held: Examples = examples, **overrides: object) -> Party:
        dotted = {key.replace("__", "."): value for key, value in overrides.items()}
        config = tiny_config({"secure_sum.protocol": "plain", **dotted})
        ledgers.append(dp.Ledger.open(tmp_path / f"{len(ledgers)}.sqlite"))
        keys = secagg.Cohort.generate(config.client_names, secagg.seeded_entropy(b"keys"))
        private = config.epsilon_of(ME) < float("inf")
        budgets = tuple(
            ClientBudget(
                client=name,
                epsilon=config.epsilon_of(name),
                delta=1e-5,
                noise_multiplier=1.5 if private else 0.0,
                sample_rate=config.training.sample_rate,
                steps=2,
                epsilon_planned=config.epsilon_of(name),
            )
            for name in config.client_names
        )
        agreed = plan_round(
            config,
            run="run",
            round_number=1,
            attempt=0,
            state=start,
            strategy=choose_strategy(config)[0],
            budgets=budgets,
        )
        client = Client(
            name=ME,
            examples=held,
            budget=budgets[1],
            # These tests change single terms of a plan, and look at what a client does that agreed to them.
            policy=replace(simulated_policy(config, ME, agreed=agreed), agreed=None),
            privacy=config.privacy,
            backbone=backbone,
            strategy=choose_strategy(config)[0],
            ledger=ledgers[-1],
            randomness=SeededRandomness(seed=Seed(0), client=ME),
            identity=keys.identities[ME],
            directory=keys.directory,
            physical_batch=4,
            memory_file=tmp_path / f"{len(ledgers)}.memory" / "client.bin",
            own=PersonalValues(folder=tmp_path / f"{len(ledgers)}.personal"),
        )
        return Party(client=client, config=config, state=start, keys=keys, budgets=budgets)

    yield make
    for ledger in ledgers:
        ledger.close()


@pytest.fixture
def no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("the client trained")

    monkeypatch.setattr(trainer_module, "train_locally", fail)


def test_the_ledger_holds_exactly_the_bytes_that_are_sent(party: Callable[..., Party]) -> None:
    one = party()
    sent = one.upload(one.request())
    assert one.client.ledger.contribution(ME, dp.ReleaseId(run="run", round=1)) == sent
    one.client.ledger.verify()


def test_the_charge_says_what_was_released(party: Callable[..., Party]) -> None:
    one = party(training__local_steps=2)
    one.client.open_session(one.request())
    (charge,) = one.charges
    assert charge.release == dp.ReleaseId(run="run", round=1, attempt=0)
    assert charge.event == dp.SampledGaussian(noise_multiplier=1.5, sample_rate=0.25, steps=2)
    assert charge.budget == dp.PrivacyBudget(epsilon=8.0, delta=1e-5)
    assert (charge.unit, charge.relation, charge.accountant) == ("example", "add_remove", "rdp")


def test_the_charge_follows_the_plan_not_the_promise(party: Callable[..., Party]) -> None:
    """A server that asks for a larger sample or more steps than it announced is charged for them."""
    one = party()
    one.client.open_session(one.request(sample_rate=0.5, local_steps=3))
    assert one.charges[0].event == dp.SampledGaussian(noise_multiplier=1.5, sample_rate=0.5, steps=3)


def test_without_a_budget_the_charge_is_infinite(party: Callable[..., Party]) -> None:
    one = party(privacy__epsilon="inf")
    one.client.open_session(one.request())
    assert one.charges[0].event == dp.NonPrivate(steps=1)
    assert one.client.ledger.spent(ME, delta=1e-5, accountant="rdp").epsilon == float("inf")


def test_the_charge_is_on_disk_before_a_session_exists(
    party: Callable[..., Party], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = party()
    opened: list[int] = []
    original = secagg.PlainSum.client

    def spy(self: secagg.PlainSum, plan: secagg.SumPlan, **options: object) -> secagg.ClientSession:
        opened.append(len(one.charges))
        return original(self, plan, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(secagg.PlainSum, "client", spy)
    one.client.open_session(one.request())
    assert opened == [1]


def test_a_failed_charge_lets_nothing_out(party: Callable[..., Party], monkeypatch: pytest.MonkeyPatch) -> None:
    one = party()

    def full(*_: object, **__: object) -> None:
        raise dp.LedgerError("the disk is full")

    monkeypatch.setattr(dp.Ledger, "charge", full)
    monkeypatch.setattr(secagg.PlainSum, "client", lambda *_, **__: pytest.fail("a session was opened"))
    with pytest.raises(dp.LedgerError, match="disk is full"):
        one.client.open_session(one.request())


def test_what_a_failed_charge_left_behind_feeds_no_later_release(
    party: Callable[..., Party], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = party(aggregation__strategy="fedsa")

    def full(*_: object, **__: object) -> None:
        raise dp.LedgerError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(dp.Ledger, "charge", full)
        with pytest.raises(dp.LedgerError, match="disk is full"):
            one.client.open_session(one.request())
    assert one.client.own.before(2), "it was kept before it was paid"
    one.upload(one.request(round=2))
    assert one.client.own.before(2) == {}
    assert one.client.own.before(3)
    one.upload(one.request(round=3))
    assert one.client.own.before(3), "what was paid stays"


def test_an_interrupted_release_is_sent_again_without_training_or_charge(
    party: Callable[..., Party], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = party()
    first = one.upload(one.request())
    monkeypatch.setattr(trainer_module, "train_locally", lambda *_: pytest.fail("the client trained again"))
    restarted = replace(one.client, randomness=SecureRandomness())
    again = replace(one, client=restarted)
    assert again.upload(one.request()) == first
    assert len(one.charges) == 1


def test_another_attempt_is_another_release_with_other_noise(party: Callable[..., Party]) -> None:
    one = party()
    first, second = one.upload(one.request()), one.upload(one.request(attempt=1))
    assert first != second
    assert [charge.release.attempt for charge in one.charges] == [0, 1]


@pytest.mark.usefixtures("no_training")
def test_an_overspending_release_is_refused_before_the_work(party: Callable[..., Party]) -> None:
    one = party(privacy__epsilon=0.01)
    with pytest.raises(dp.BudgetExceeded, match=r"above its budget of 0\.01"):
        one.client.open_session(one.request())
    assert one.charges == ()


def test_the_budget_ends_after_some_releases(party: Callable[..., Party]) -> None:
    one = party(privacy__epsilon=2.0)
    for round_number in range(1, 100):
        request = one.request(round=round_number)
        try:
            one.upload(request)
        except dp.BudgetExceeded:
            break
    assert 0 < round_number - 1 == len(one.charges)
    assert one.client.ledger.spent(ME, delta=1e-5, accountant="rdp").epsilon <= 2.0


@pytest.mark.usefixtures("no_training")
@pytest.mark.parametrize(
    "change",
    [
        {"cohort": ("client-1", "client-3", "client-4")},
        {"protocol": "masked"},
        {"min_cohort": 2},
        {"adversarial_fraction": 0.0},
        {"malicious_server": False},
        {"private": False},
        {"model_hash": "00" * 32},
    ],
)
def test_a_request_that_breaks_the_terms_is_refused_before_the_work(
    change: dict[str, object], party: Callable[..., Party]
) -> None:
    one = party()
    with pytest.raises(PolicyError):
        one.client.open_session(one.request(**change))
    assert one.charges == ()


@pytest.mark.usefixtures("no_training")
def test_a_malformed_request_is_refused(party: Callable[..., Party]) -> None:
    one = party()
    for request in (b"", b"\0\0\0\2{}", one.request()[:-1], one.request() + b"x"):
        with pytest.raises(PolicyError):
            one.client.open_session(request)
    assert one.charges == ()


def test_an_update_that_does_not_fit_the_codec_is_charged_before_that_is_said(party: Callable[..., Party]) -> None:
    """Whether it fits depends on the examples, so even the refusal is a release."""
    one = party(secure_sum__clip=1e-6)
    with pytest.raises(PolicyError, match=r"leaves the codec's range, or could not be made; raise secure_sum\.clip"):
        one.client.open_session(one.request())
    assert len(one.charges) == 1
    assert one.client.ledger.contribution(ME, dp.ReleaseId(run="run", round=1)) == b""


@pytest.mark.parametrize(
    "error",
    [
        NotPerExample("odd"),
        NonFiniteUpdate("odd"),
        RuntimeError("out of memory"),
        OverflowError("odd"),
        TrainingFailedError("in another process"),
    ],
)
def test_training_that_fails_on_the_drawn_examples_is_charged_before_that_shows(
    error: Exception, party: Callable[..., Party], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = party()

    def fail(*_: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(trainer_module, "train_locally", fail)
        with pytest.raises(type(error)):
            one.client.open_session(one.request())
    assert len(one.charges) == 1
    with pytest.raises(PolicyError, match="could not be made"):
        one.client.open_session(one.request())
    assert len(one.charges) == 1, "and it is not tried again"


def test_what_could_not_be_sent_cannot_be_sent_later(
    party: Callable[..., Party], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = party(secure_sum__clip=1e-6)
    for _ in range(2):
        with pytest.raises(PolicyError, match="leaves the codec's range"):
            one.client.open_session(one.request())
        monkeypatch.setattr(trainer_module, "train_locally", lambda *_: pytest.fail("the client trained again"))
    assert len(one.charges) == 1


def weight_sent(one: Party) -> int:
    sent = secagg.Encoded.from_bytes(one.upload(one.request()))
    return int(sent.residues[1][0])


def test_without_privacy_the_number_of_examples_is_the_weight(party: Callable[..., Party], examples: Examples) -> None:
    assert weight_sent(party(privacy__epsilon="inf")) == len(examples)


def test_a_weight_is_bounded_by_the_public_plan(party: Callable[..., Party], examples: Examples) -> None:
    """Nobody can outweigh everybody else: 4 · nominal batch / q."""
    many = Examples(
        token_ids=examples.token_ids * 30, labels=np.tile(examples.labels, 30), padding_id=examples.padding_id
    )
    assert weight_sent(party(many, privacy__epsilon="inf")) == 4 * 40


def test_under_privacy_no_count_travels_at_all(party: Callable[..., Party], examples: Examples) -> None:
    one = party()
    fewer = Examples(token_ids=examples.token_ids[:3], labels=examples.labels[:3], padding_id=examples.padding_id)
    other = party(fewer)
    sent = [secagg.Encoded.from_bytes(held.upload(held.request())) for held in (one, other)]
    assert sent[0].layout == sent[1].layout
    assert [segment.name for segment in sent[0].layout.segments] == ["values"]


def test_a_client_without_examples_sends_noise_of_the_same_size(
    party: Callable[..., Party], examples: Examples
) -> None:
    nothing = Examples(token_ids=(), labels=np.array([], dtype=np.int64), padding_id=0)
    empty, full = party(nothing), party()
    plan = full.plan()
    sums = sum_plan(
        plan, dim=full.client.strategy.trainable(full.client.backbone.spec).size, directory=full.keys.directory
    )
    vectors = []
    for one in (empty, full):
        sent = secagg.Encoded.from_bytes(one.upload(one.request()))
        vectors.append(sums.codec.decode(sums.codec.centred(sent.residues[0], layout=sums.layout), total_weight=1))
    expected = 1.5 * plan.clip_norm / plan.nominal_batch
    assert np.std(vectors[0]) == pytest.approx(expected, rel=0.15)
    assert np.std(vectors[1]) == pytest.approx(expected, rel=0.25)


OWN = OwnTerms(client=ME, sample_rate=0.125, clip_norm=0.5, nominal_batch=5.0)


def test_own_terms_are_followed_and_charged(party: Callable[..., Party]) -> None:
    """The noise that arrives has the standard deviation σ·C/divisor of the client's own terms."""
    nothing = Examples(token_ids=(), labels=np.array([], dtype=np.int64), padding_id=0)
    one = party(nothing)
    request = {"own_terms": (OWN.model_dump(), OWN.model_copy(update={"client": "client-1"}).model_dump())}
    plan = one.plan(**request)
    sums = sum_plan(
        plan, dim=one.client.strategy.trainable(one.client.backbone.spec).size, directory=one.keys.directory
    )
    sent = secagg.Encoded.from_bytes(one.upload(one.request(**request)))
    vector = sums.codec.decode(sums.codec.centred(sent.residues[0], layout=sums.layout), total_weight=1)
    assert np.std(vector) == pytest.approx(1.5 * 0.5 / 5.0, rel=0.1)
    assert one.charges[0].event == dp.SampledGaussian(noise_multiplier=1.5, sample_rate=0.125, steps=1)


def test_groups_are_charged_together_and_each_has_its_limit(party: Callable[..., Party], examples: Examples) -> None:
    grouped = replace(examples, groups=np.arange(len(examples)) % 2)
    one = party(grouped)
    budget = replace(
        one.client.budget,
        groups=(
            GroupBudget(name="a", epsilon=8.0, share=0.5, sample_rate=0.3, epsilon_planned=8.0),
            GroupBudget(name="b", epsilon=0.5, share=0.5, sample_rate=0.01, epsilon_planned=0.5),
        ),
    )
    one = replace(one, client=replace(one.client, budget=budget))
    rates = ({"name": "a", "sample_rate": 0.3}, {"name": "b", "sample_rate": 0.01})
    one.upload(one.request(groups=rates))
    (charge,) = one.charges
    assert charge.event == dp.GroupedGaussian(noise_multiplier=1.5, groups=(("a", 0.3), ("b", 0.01)), steps=1)
    assert charge.budget.groups == (("a", 8.0), ("b", 0.5))
    # A server that asks for more of the strict group than its budget allows is refused before the work.
    greedy = ({"name": "a", "sample_rate": 0.3}, {"name": "b", "sample_rate": 0.3})
    with pytest.raises(dp.BudgetExceeded, match="group 'b'"):
        one.upload(one.request(round=2, groups=greedy))
    assert len(one.charges) == 1


def test_shortage_is_asked_without_a_trace(party: Callable[..., Party]) -> None:
    one = party(privacy__epsilon=0.01)
    assert "above its budget of 0.01" in one.client.account.shortage(one.plan())
    assert party().client.account.shortage(one.plan()) == ""
    assert one.charges == ()


def test_what_is_sent_decodes_to_the_encoded_update(
    party: Callable[..., Party], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = party()
    updates: list[np.ndarray] = []
    original = trainer_module.train_locally

    def spy(*args: object) -> object:
        update = original(*args)  # type: ignore[arg-type]
        updates.append(one.client.strategy.strategy.encode(update.delta, one.client.backbone.spec))
        return update

    monkeypatch.setattr(trainer_module, "train_locally", spy)
    sent = secagg.Encoded.from_bytes(one.upload(one.request()))
    sums = sum_plan(one.plan(), dim=len(updates[0]), directory=one.keys.directory)
    decoded = sums.codec.decode(sums.codec.centred(sent.residues[0], layout=sums.layout), total_weight=1)
    assert np.abs(decoded - updates[0]).max() <= sums.codec.step


def test_a_masked_upload_is_not_the_stored_contribution(party: Callable[..., Party]) -> None:
    one = party(secure_sum__protocol="masked")
    _, sent = one.client.open_session(one.request()).step(())
    stored = one.client.ledger.contribution(ME, dp.ReleaseId(run="run", round=1))
    assert stored is not None
    assert all(stored[-200:] not in envelope.payload for envelope in sent)


def test_the_session_insists_on_the_clients_own_terms(
    party: Callable[..., Party], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the secure sum checks comes from the client's policy, not from the server's plan."""
    one = party(secure_sum__protocol="masked")
    members: list[secagg.Member] = []
    original = secagg.MaskedSum.client

    def spy(
        self: secagg.MaskedSum,
        plan: secagg.SumPlan,
        *,
        member: secagg.Member,
        contribution: secagg.Encoded,
        entropy: Callable[[int], bytes],
    ) -> secagg.ClientSession:
        members.append(member)
        return original(self, plan, member=member, contribution=contribution, entropy=entropy)

    monkeypatch.setattr(secagg.MaskedSum, "client", spy)
    one.client.open_session(one.request(min_cohort=4, adversarial_fraction=0.2))
    (member,) = members
    assert (member.min_cohort, member.adversarial_fraction, member.malicious_server) == (3, 0.1, True)
    assert member.received == {"model": one.state.digest()}


def test_throughput_is_counted(party: Callable[..., Party]) -> None:
    one = party(privacy__epsilon="inf", training__sample_rate=1.0)
    one.client.open_session(one.request())
    assert one.client.examples_processed == 10
    assert one.client.training_seconds > 0


def test_a_repr_shows_nothing_private(party: Callable[..., Party], examples: Examples) -> None:
    shown = repr(party().client)
    for private in ("Examples", "token", "Identity", "examples_processed", str(list(examples.token_ids[0]))[1:-1]):
        assert private not in shown
