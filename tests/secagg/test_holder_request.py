from dataclasses import replace

import pytest

import secagg
from secagg.plan_bytes import decode_plan, encode_plan
from tests.secagg.one_message import NAMES, PROTOCOLS, make

WRAPPING = secagg.ModularIntegers(bits=20)
PLANS = [
    make().plan,
    make(secagg.BfvSum(), summed_weights=True, noised=True, max_norm=0.5, run="r", round=3, attempt=2).plan,
    make(
        secagg.HelperSum(codec=secagg.FixedPoint(clip=1.0, max_weight=9), min_cohort=6),
        weights=(2, 3, 4, 5, 6, 7),
        manifest=secagg.Manifest.whole_model(bytes(32)),
    ).plan,
    secagg.CkksSum(codec=WRAPPING).plan(clients=NAMES, dim=7, directory=make().cohort.directory),
    replace(
        make().plan,
        manifest=secagg.Manifest(
            parts={"a": bytes(32), "b": bytes([1]) * 32},
            entries={NAMES[0]: secagg.Entry(parts=("b",), covered=((0, 2), (3, 7)))},
        ),
    ),
]


@pytest.mark.parametrize("plan", PLANS)
def test_a_plan_travels_whole(plan):
    data = encode_plan(plan)
    assert decode_plan(data) == plan
    assert decode_plan(data).digest() == plan.digest()
    for length in range(len(data)):
        with pytest.raises(secagg.WireError):
            decode_plan(data[:length])
    with pytest.raises(secagg.ProtocolError):
        decode_plan(data + b"\0")


def test_plans_that_do_not_travel():
    masked = secagg.MaskedSum(malicious_server=False).plan(clients=NAMES, dim=3)
    with pytest.raises(secagg.PlanError, match="this one has a graph"):
        encode_plan(masked)
    data = bytearray(encode_plan(PLANS[0]))
    data[-9] = 2
    with pytest.raises(secagg.WireError, match="neither 0 nor 1"):
        decode_plan(bytes(data))


def test_a_codec_without_a_clip_has_no_weights_either():
    plan = secagg.HelperSum(codec=WRAPPING).plan(clients=NAMES, dim=7, directory=make().cohort.directory)
    data, parameters = encode_plan(plan), WRAPPING.parameters()
    assert data.count(parameters) == 1
    forged = data.replace(parameters, parameters[:-1] + b"\x02")
    with pytest.raises(secagg.WireError, match="neither saturation nor weights"):
        decode_plan(forged)


def test_requests():
    for request in (
        secagg.HolderRequest(plan=PLANS[0], phase="announce"),
        secagg.HolderRequest(plan=PLANS[1], phase="open", payload=b"question"),
    ):
        assert secagg.HolderRequest.from_bytes(request.to_bytes()) == request
    for phase, payload in (("upload", b""), ("announce", b"more")):
        with pytest.raises(secagg.WireError, match="request: phase"):
            secagg.HolderRequest(plan=PLANS[0], phase=phase, payload=payload)


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda protocol: protocol.label)
def test_a_key_holder_of_its_own_gives_the_same_sum(protocol):
    round_, memory = make(protocol), secagg.HolderMemory()

    def ask(phase, payload=b""):
        nonlocal memory
        request = secagg.HolderRequest.from_bytes(
            secagg.HolderRequest(plan=round_.plan, phase=phase, payload=payload).to_bytes()
        )
        memory, envelope = secagg.answer_holder_request(
            request,
            identity=round_.cohort.key_holder,
            directory=round_.cohort.directory,
            memory=memory,
            min_cohort=3,
        )
        memory = secagg.HolderMemory.from_bytes(memory.to_bytes())
        return envelope

    with pytest.raises(secagg.RefusedError, match="spoke before a key was announced"):
        ask("open", b"too early")
    round_.server, requests = round_.server.step((ask("announce"),))
    with pytest.raises(secagg.RefusedError, match="use that announcement, or plan another attempt"):
        ask("announce")
    question = round_.question(round_.uploads(requests))
    result = round_.result(ask("open", question.payload))
    assert (result.integers == make(protocol).finish().integers).all()
    assert memory.open == ()


def test_protocols_without_a_third_party():
    plan = secagg.PlainSum(min_cohort=3).plan(clients=NAMES, dim=3)
    cohort = make().cohort
    with pytest.raises(secagg.PlanError, match="the 'plain' sum has no key holder; there are helper, bfv, ckks"):
        secagg.answer_holder_request(
            secagg.HolderRequest(plan=plan, phase="announce"),
            identity=cohort.key_holder,
            directory=cohort.directory,
            memory=secagg.HolderMemory(),
            min_cohort=3,
        )


def test_a_hostile_plan_is_refused_before_it_costs_anything():
    data = encode_plan(PLANS[-1])
    head = data[: data.index(b"\x08client-0") - 4]
    millions = head + (4_000_000).to_bytes(4, "big") + bytes(4_000_000)
    with pytest.raises(secagg.WireError, match="names are not unique and sorted"):
        decode_plan(millions)
    with pytest.raises(secagg.WireError, match=r"plan of 16777217 bytes is larger than 16777216"):
        decode_plan(bytes((1 << 24) + 1))
    row = data.rindex(b"\x08client-0") + 9
    many = data[:row] + (4_000_000).to_bytes(4, "big") + bytes(4_000_000)
    with pytest.raises(secagg.WireError, match="'client-0' is sent 4000000 parts, there are 2"):
        decode_plan(many)
    with pytest.raises(secagg.WireError, match=r"request of .* bytes is larger"):
        secagg.HolderRequest.from_bytes(FakeBytes())


class FakeBytes(bytes):
    """A gigabyte that takes no memory."""

    def __len__(self):
        return (1 << 30) + 1
