"""Views from recorded messages: what a threat model's adversary can decode, and the public noise that lies on it."""

from collections.abc import Mapping

import numpy as np

import secagg
from attacks.base import Floats, Granularity, ThreatModel, View
from attacks.errors import ViewTooWeakError
from fedpeft_secure.adapters import AdapterSpec, AdapterState
from fedpeft_secure.engines.rounds import TRAIN
from fedpeft_secure.plans import RoundPlan, unpack_request
from fedpeft_secure.secure_sums import secure_sum, sum_plan
from fedpeft_secure.sum_groups import plan_of_sum
from secagg.plain import UPLOAD, read_contribution


def read_view(
    transcript: secagg.Transcript,
    threat: ThreatModel,
    *,
    adapter: AdapterSpec,
    trained: AdapterSpec,
    directory: secagg.KeyDirectory,
    noise_multipliers: Mapping[str, float],
    covered: Mapping[str, tuple[tuple[int, int], ...]] | None = None,
    member: str = "",
    start: AdapterState | None = None,
) -> View:
    """What `threat` learns from the messages of one round.

    Args:
        transcript: of the round.
        threat: who is corrupt; with a target, the target's own message is asked for.
        adapter: the public structure of what the server sends out.
        trained: of what clients send.
        directory: the clients' public keys.
        noise_multipliers: every client's σ/C; public.
        covered: what each client fills of the vector, if not all of it.
        member: a client; where each group has a sum of its own, that of its group is read. The first unless given.
        start: the public adapter before the first round, of which downloads may be changes.

    Raises:
        ViewTooWeakError: If the target's message is hidden by the secure sum.
    """
    requests = transcript.between(sender=secagg.SERVER, phase=TRAIN)
    whole, before = unpack_request(requests[0].payload, adapter, start=start)
    plan = plan_of_sum(whole, member or whole.cohort[0], directory)
    transcript = messages_of(transcript, plan.cohort)
    sums = sum_plan(plan, dim=trained.size, directory=directory, covered=covered)
    if threat.target is None:
        aggregate = secagg.replay_aggregate(secure_sum(plan), sums, transcript, directory=directory)
        observed: Floats = aggregate.mean
        contributors, granularity, weight = aggregate.survivors, Granularity.SUM, aggregate.total_weight
    else:
        if plan.protocol != "plain":
            raise ViewTooWeakError(
                f"{threat.target}'s update is hidden by the {plan.protocol} sum; the server of this run sees only sums"
            )
        observed = read_contribution(transcript, sums, threat.target)
        contributors, granularity = (threat.target,), Granularity.INDIVIDUAL
        weight = _weight(transcript, sums, threat.target)
    stddevs = [noise_stddev(plan.for_client(name), noise_multipliers[name]) for name in contributors]
    return View(
        threat=threat,
        granularity=granularity,
        plan=plan,
        trained=trained,
        before=before,
        observed=observed,
        contributors=contributors,
        noise_stddev=float(np.sqrt(np.sum(np.square(stddevs)))) / len(contributors),
        rounding_stddev=rounding_stddev(sums.codec, contributors=len(contributors), total_weight=weight),
    )


def messages_of(transcript: secagg.Transcript, clients: tuple[str, ...]) -> secagg.Transcript:
    """The messages of one of a round's sums: those of its clients, and the key holder's right before and after.

    The sums of a round are played one after another, so that the third party's messages next to those of other clients
    belong to other sums.
    """
    envelopes = transcript.envelopes
    theirs = [at for at, one in enumerate(envelopes) if one.phase != TRAIN and {one.sender, one.recipient} & {*clients}]
    if not theirs:
        return secagg.Transcript()
    first, last = theirs[0], theirs[-1]
    while first > 0 and _between_servers(envelopes[first - 1]):
        first -= 1
    while last + 1 < len(envelopes) and _between_servers(envelopes[last + 1]):
        last += 1
    return secagg.Transcript(envelopes=envelopes[first : last + 1])


def _between_servers(envelope: secagg.Envelope) -> bool:
    return {envelope.sender, envelope.recipient} == {secagg.SERVER, secagg.messages.KEY_HOLDER}


def noise_stddev(plan: RoundPlan, noise_multiplier: float) -> float:
    """Standard deviation of the DP noise on one coordinate of what a client sends after SGD steps; 0 without DP."""
    if not plan.private:
        return 0.0
    one_step = plan.learning_rate * noise_multiplier * plan.clip_norm / plan.nominal_batch
    return float(one_step * np.sqrt(plan.local_steps))


def rounding_stddev(codec: secagg.Codec, *, contributors: int, total_weight: int) -> float:
    """Root mean square of the stochastic rounding on one coordinate of a decoded mean.

    A value at the share f of a step is off by a variance of f(1 − f) steps², 1/6 in the mean over f; contributions are
    scaled by weight / largest weight before they are rounded.
    """
    step = codec.step * codec.weight_bound / total_weight
    return float(step * np.sqrt(contributors / 6.0))


def _weight(transcript: secagg.Transcript, sums: secagg.SumPlan, client: str) -> int:
    """The weight of a client's plain contribution: public, or readable beside the values."""
    public = sums.public_weight(client)
    if public:
        return public
    payload = transcript.between(sender=client, phase=UPLOAD)[0].payload
    return int(secagg.Encoded.from_bytes(payload).residues[1][0])
