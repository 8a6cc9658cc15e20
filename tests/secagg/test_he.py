"""BFV and CKKS: equal to `PlainSum`, shut to server and clients, and why a server that lies must be refused."""

import struct
from dataclasses import replace

import numpy as np
import pytest

import secagg
from secagg import he_seal
from secagg import one_message_wire as wire
from secagg.he_wire import pack_polynomials, unpack_polynomials
from secagg.scheme import Binding
from tests.contracts.secure_sum import SecureSumContract
from tests.secagg.one_message import NAMES, make
from tests.secagg.test_client import reachable

PROTOCOLS = (secagg.BfvSum(), secagg.CkksSum())
both = pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda protocol: protocol.label)
ANYBODY = [Binding(session=bytes(32), name=name, model=bytes(32)) for name in NAMES]


class TestBfvSum(SecureSumContract):
    def make(self, codec):
        return secagg.BfvSum(codec=codec)


class TestCkksSum(SecureSumContract):
    def make(self, codec):
        return secagg.CkksSum(codec=codec)


def collected(round_, question):
    """The sum of the ciphertexts that the server asks to open."""
    return wire.parse_request(question.payload, num_clients=len(NAMES))[1]


def decrypted_delta(parameters, seed):
    """What SEAL decrypts (c0, c1) = (0, Δ) to: c0 + c1·s = Δ·s, so the plaintext is the secret key itself."""
    (prime,), plain = parameters.data_primes, parameters.plain_modulus
    forged = np.zeros((2, parameters.degree), dtype=np.uint64)
    forged[1, 0] = prime // plain
    api, context = he_seal.seal(), he_seal._context(parameters)
    data = he_seal._serialised((forged,), parms_id=context.first_parms_id(), is_ntt=False, scale=1.0)
    ciphertext, plaintext = he_seal._loaded(api.Ciphertext(), context, data), api.Plaintext()
    api.Decryptor(context, he_seal.secret_key(parameters, seed)).decrypt(ciphertext, plaintext)
    leaked = np.array([plaintext.data(index) for index in range(parameters.degree)], dtype=np.int64)
    leaked[leaked > plain // 2] -= plain
    return leaked


def opened_by(secret, body, parameters):
    """Decrypts one BFV ciphertext with the bare coefficients of a key: what anybody can do who has them."""
    (prime,), plain = parameters.data_primes, parameters.plain_modulus
    pair = unpack_polynomials(body, count=2, primes=parameters.data_primes, degree=parameters.degree)[0].astype(object)
    product = np.zeros(parameters.degree, dtype=object)
    for index in np.flatnonzero(secret):
        rolled = np.roll(pair[1], index)
        rolled[:index] *= -1
        product += int(secret[index]) * rolled
    message = ((pair[0] + product) % prime * plain + prime // 2) // prime % plain
    api = he_seal.seal()
    text = " + ".join(f"{int(m):X}x^{i}" for i, m in reversed(list(enumerate(message))) if m)
    return np.array(api.BatchEncoder(he_seal._context(parameters)).decode_uint64(api.Plaintext(text)), dtype=np.int64)


# --- attacks ----------------------------------------------------------------------------------------------------------


def test_why_bfv_is_refused_to_a_server_that_may_lie():
    """The ciphertext (0, Δ) decrypts to the ternary secret key: one forgery, and every upload lies open."""
    round_ = make(secagg.BfvSum())
    uploads = round_.uploads(round_.announced())
    parameters = round_.protocol.scheme(round_.plan).parameters
    leaked = decrypted_delta(parameters, round_.key_holder.memory.open[0].secret)
    assert set(leaked.tolist()) == {-1, 0, 1}
    for upload in uploads[4:]:
        slots = opened_by(leaked, upload.payload[:-64], parameters)[:7]
        values = (slots - round_.plan.codec.largest) * round_.plan.codec.step
        assert np.abs(values - round_.vectors[upload.sender]).max() < 1e-3


def test_the_key_holder_gives_a_plain_forgery_nothing_and_its_key_is_gone():
    """The range check stops (0, Δ) as it is; it is no proof against cleverer forgeries, hence the refusal above."""
    round_ = make(secagg.BfvSum())
    question = round_.until_question()
    scheme = round_.protocol.scheme(round_.plan)
    parameters = scheme.parameters
    forged = np.zeros((2, parameters.degree), dtype=np.uint64)
    forged[1, 0] = parameters.data_primes[0] // parameters.plain_modulus
    body = pack_polynomials((forged,), primes=parameters.data_primes)
    answer = round_.answer(replace(question, payload=question.payload[: -len(body)] + body))
    assert round_.key_holder.memory.open == ()
    assert not any(answer.payload[:-64])


def test_why_ckks_is_refused_to_a_server_that_may_lie():
    """A forged (0, scale) passes every check of the key holder, and its rounded slots are those of the secret key."""
    protocol = secagg.CkksSum()
    round_ = make(protocol, dim=2048)
    question = round_.until_question()
    scheme, seed = protocol.scheme(round_.plan), round_.key_holder.memory.open[0].secret
    parameters = scheme.parameters
    assert (parameters.ciphertexts, len(parameters.data_primes)) == (1, 1)
    forged = np.zeros((2, parameters.degree), dtype=np.uint64)
    forged[1, :] = parameters.scale  # a constant in NTT form
    body = pack_polynomials((forged,), primes=parameters.data_primes)
    answer = round_.answer(replace(question, payload=question.payload[: -len(body)] + body))
    senders, residues = wire.parse_answer(
        answer.payload,
        layout=round_.plan.layout,
        num_clients=len(NAMES),
        request=question.payload[: -len(body)] + body,
        session=wire.session_id(round_.plan.digest(), round_.transcript[0].payload),
        key_holder=round_.cohort.directory.key_holder,
    )
    assert len(senders) == len(NAMES)
    slots = round_.plan.codec.centred(residues[0], layout=round_.plan.layout)
    values = slots[:1024] + 1j * slots[1024:]
    powers = [pow(3, index, 4096) for index in range(1024)]  # SEAL's slots are roots of unity to powers of three
    roots = np.exp(-1j * np.pi * np.outer(np.arange(2048), powers) / 2048)
    leaked = np.rint(2 / 2048 * np.real(roots @ values)).astype(int)
    assert set(leaked.tolist()) == {-1, 0, 1}
    alike = secagg.he_parameters.bfv_parameters(count=7, clients=6, digit_bits=19)
    assert alike.degree == parameters.degree  # and so the same seed gives the same key
    assert (leaked == decrypted_delta(alike, seed)).all()


@both
def test_the_server_and_the_clients_hold_no_secret_key(protocol):
    """NVFlare's kits hold the secret key in every client; here nothing but the key holder's memory does."""
    round_ = make(protocol)
    requests = round_.announced()
    seed = round_.key_holder.memory.open[0].secret
    before = [reachable(round_.clients[name]) for name in NAMES]
    question = round_.question(round_.uploads(requests))
    held = [*before, *(reachable(round_.clients[name]) for name in NAMES), reachable(round_.server)]
    assert not any(seed in blob for blobs in held for blob in blobs)
    assert not any(seed in envelope.payload for envelope in round_.transcript)
    scheme = protocol.scheme(round_.plan)
    for other in (bytes(64), seed[::-1]):  # whatever key else somebody makes up
        assert scheme.open(other, collected(round_, question), senders=ANYBODY).senders == ()
    assert scheme.open(seed, collected(round_, question), senders=ANYBODY).senders == tuple(range(6))


@both
def test_every_round_has_a_fresh_key_and_every_ciphertext_fresh_randomness(protocol):
    one, two = make(protocol, seed=1), make(protocol, seed=2)
    keys = [round_.announced()[0].payload[:-64] for round_ in (one, two)]
    assert keys[0] != keys[1]
    scheme = protocol.scheme(one.plan)
    contribution = one.plan.encode(NAMES[0], np.zeros(7), rng=np.random.default_rng(0))
    entropy = secagg.seeded_entropy(b"e")
    bodies = [scheme.hide(contribution, public=keys[0], binding=ANYBODY[0], entropy=entropy).body for _ in range(3)]
    assert len(set(bodies)) == 3
    again = scheme.hide(contribution, public=keys[0], binding=ANYBODY[0], entropy=secagg.seeded_entropy(b"e")).body
    assert again == bodies[0]


@both
def test_every_ciphertext_of_one_upload_has_its_own_randomness(protocol):
    """SEAL's seeded generator repeats itself within a context: two ciphertexts must never share one."""
    round_ = make(protocol, dim=13_000)
    requests = round_.announced()
    scheme = protocol.scheme(round_.plan)
    (upload,) = round_.clients[NAMES[0]].step((requests[0],))[1]
    polynomials = unpack_polynomials(
        upload.payload[: scheme.body_bytes],
        count=2 * scheme.parameters.ciphertexts,
        primes=scheme.parameters.data_primes,
        degree=scheme.parameters.degree,
    )
    masks = [array[1::2].tobytes() for array in polynomials]
    assert scheme.parameters.ciphertexts > 1
    assert all(len({mask[i : i + 64] for i in range(0, len(mask), 8 * scheme.parameters.degree)}) > 1 for mask in masks)


@both
def test_decrypting_what_the_library_refuses_is_a_reason_not_a_crash(protocol, monkeypatch):
    round_ = make(protocol)
    question = round_.until_question()
    monkeypatch.setattr(he_seal, "_CORRECTION", 77)  # a serialisation that SEAL does not accept
    monkeypatch.setattr(he_seal, "_MEMBERS", "<4Q?3QdQ")
    monkeypatch.setattr(he_seal, "_serialised", lambda *_args, **_kw: struct.pack("<Q", 5))
    with pytest.raises(secagg.RefusedError, match="malformed: SEAL refuses the ciphertext or key"):
        round_.key_holder.step((question,))


def test_without_tenseal_the_error_names_the_remedy(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "tenseal", None)
    with pytest.raises(secagg.PlanError, match=r"need TenSEAL; `pip install fedpeft-secure\[he\]`"):
        make(secagg.BfvSum()).announced()


def test_sums_that_no_parameters_carry_are_refused_when_planned():
    names = tuple(f"c{i:04}" for i in range(300))
    cohort = secagg.Cohort.with_key_holder(names, secagg.seeded_entropy(b"many"))
    codec = secagg.FixedPoint(clip=1.0, bits=32)
    with pytest.raises(secagg.PlanError, match=r"sums of 41 bits exactly; lower secure_sum.bits"):
        secagg.CkksSum(codec=codec).plan(clients=names, dim=5, directory=cohort.directory)
    assert secagg.BfvSum(codec=codec).plan(clients=names, dim=5, directory=cohort.directory).dim == 5
