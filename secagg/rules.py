"""What a client checks before it answers: pure functions that raise `RefusedError` and never return a secret."""

import hmac

import numpy as np

from secagg.codec import Encoded
from secagg.crypto import verified
from secagg.errors import CodecError, RefusedError
from secagg.graph import GraphPlan, count_up, plan_for_counts
from secagg.identity import Identity, KeyDirectory
from secagg.masked_messages import Roster
from secagg.plan import SumPlan
from secagg.session import Member
from secagg.signing import signed_message


def check_plan(plan: SumPlan, member: Member) -> GraphPlan:
    """The plan is the member's own cohort, model, directory and proven parameters."""
    check_cohort(plan, member)
    graph = plan.graph
    if graph is None:
        raise RefusedError("a masked sum needs a graph plan; use plan_graph")
    if member.malicious_server and not graph.malicious_server:
        raise RefusedError("the plan trusts the server, this client does not; plan with a malicious server")
    _check_graph(plan, graph, member)
    if graph.malicious_server:
        check_directory(plan, member)
    check_weights(plan.clients, plan=plan, colluders=graph.colluders, own=member.name)
    return graph


def check_cohort(plan: SumPlan, member: Member) -> None:
    """The plan is for the member's own cohort and for exactly what it received, and hides it well enough."""
    plan.position(member.name)
    if plan.min_cohort < member.min_cohort:
        raise RefusedError(f"min_cohort = {plan.min_cohort} is below this client's {member.min_cohort}")
    if plan.noised and not member.noised:
        raise RefusedError(
            "the plan counts on noise that this client's contribution does not have; plan with noised off"
        )
    for part, value in plan.manifest.sent_to(member.name).items():
        if not hmac.compare_digest(member.received.get(part, b""), value):
            raise RefusedError(
                f"manifest: part {part!r} is not what this client received; others may hold another model"
            )
    if set(member.received) - set(plan.manifest.sent_to(member.name)):
        raise RefusedError("manifest: this client received parts that its entry does not list")
    check_fillers(plan.clients, plan=plan)


def check_fillers(names: tuple[str, ...], *, plan: SumPlan) -> None:
    """Every coordinate that one of `names` fills is filled by enough of them."""
    if (found := plan.manifest.fewest_fillers(names, dim=plan.dim)) >= plan.fewest_fillers:
        return
    least = f"min_cohort = {plan.min_cohort}"
    if plan.fewest_fillers > plan.min_cohort and plan.graph is not None:
        least = f"{plan.fewest_fillers}, two more than the {plan.graph.colluders} corrupt clients that the plan bears"
    raise RefusedError(f"a coordinate is filled by {found} clients, fewer than {least}; raise ranks together")


def _check_graph(plan: SumPlan, graph: GraphPlan, member: Member) -> None:
    proven = plan_for_counts(
        graph.num_clients,
        colluders=graph.colluders,
        dropouts=graph.dropouts,
        malicious_server=graph.malicious_server,
    )
    if graph != proven:
        raise RefusedError(
            f"degree {graph.degree}, threshold {graph.threshold} are not the proven {proven.degree}, {proven.threshold}"
        )
    population = population_of(plan, member)
    if graph.colluders < count_up(population, member.adversarial_fraction):
        raise RefusedError(
            f"the plan bears {graph.colluders} corrupt clients, fewer than {member.adversarial_fraction:g} of "
            f"{population}; plan with the directory-wide number"
        )


def check_coverage(plan: SumPlan, name: str, contribution: Encoded) -> None:
    """The contribution is zero outside the ranges that the manifest lists for its client; raises CodecError."""
    outside = np.ones(plan.dim, dtype=bool)
    for start, stop in plan.manifest.covered_by(name, dim=plan.dim):
        outside[start:stop] = False
    if contribution.residues[0][outside].any():
        raise CodecError(f"{name!r} fills coordinates that the manifest does not list for it")


def population_of(plan: SumPlan, member: Member) -> int:
    """Among how many the corrupt clients may be; nobody can verify that the cohort is a fair sample."""
    return max(len(plan.clients), 0 if member.directory is None else len(member.directory.members))


def check_directory(plan: SumPlan, member: Member) -> tuple[Identity, KeyDirectory]:
    """The member has an identity, in the very directory of the plan; returns both."""
    if member.identity is None or member.directory is None:
        raise RefusedError("a server that may lie needs identities; give the member its identity and key directory")
    if plan.directory != member.directory.fingerprint:
        raise RefusedError("the plan names another key directory than this client pinned")
    if strangers := set(plan.clients) - set(member.directory.members):
        raise RefusedError(f"{min(strangers)!r} is not in the key directory")
    if member.directory.members[member.name] != member.identity.public:
        raise RefusedError("the key directory holds another key for this client")
    return member.identity, member.directory


def check_weights(clients: tuple[str, ...], *, plan: SumPlan, colluders: int, own: str) -> None:
    """With unequal public weights, we do not outweigh what surely honest clients add: else the sum is ours alone."""
    if plan.weights is None or len(set(plan.weights)) == 1:
        return
    weights = dict(zip(plan.clients, plan.weights, strict=True))
    others = sorted(weights[name] for name in clients if name != own)
    cover = sum(others[:-colluders])
    if weights[own] > cover:
        raise RefusedError(
            f"weight {weights[own]} exceeds the {cover} of the others without the {colluders} heaviest: the sum "
            "would show this client; plan with evener weights or more clients"
        )


def check_fewest(plan: SumPlan, *, colluders: int, own: str) -> None:
    """Where nobody tells us who survived: the fewest and lightest survivors must still hide us."""
    if plan.min_cohort < colluders + 2:
        raise RefusedError(
            f"min_cohort = {plan.min_cohort} leaves a sum of one beside {colluders} corrupt clients; "
            f"raise it to {colluders + 2}"
        )
    others = [name for name in plan.clients if name != own]
    if plan.weights is not None:
        others.sort(key=lambda name: plan.public_weight(name) or 0)
    check_weights((own, *others[: plan.min_cohort - 1]), plan=plan, colluders=colluders, own=own)


def check_roster(
    roster: Roster, *, plan: SumPlan, graph: GraphPlan, own_position: int, own_body: bytes, neighbours: tuple[int, ...]
) -> None:
    """The roster holds our own advertisement, no key twice, and enough clients and neighbours."""
    own = roster.adverts.get(own_position)
    if own is None or own.body != own_body:
        raise RefusedError("the roster omits or alters this client's own keys")
    keys = [key for advert in roster.adverts.values() for key in (advert.mask_key, advert.share_key)]
    if len(set(keys)) != len(keys):
        raise RefusedError("the roster repeats a public key")
    check_enough(tuple(roster.adverts), plan=plan, graph=graph, neighbours=neighbours, doing="advertised")


def who_must_have_signed(
    roster: Roster, *, plan: SumPlan, graph: GraphPlan, neighbours: tuple[int, ...]
) -> tuple[int, ...]:
    """The neighbours; everybody, where a count relies on more clients than a threshold of neighbours.

    A forged client has no honest neighbour that stays, so nobody misses it in the sum: it must not count towards
    min_cohort, nor towards the clients that fill a coordinate, nor towards the others' weight.
    """
    if plan.manifest.entries or len(set(plan.weights or ())) > 1 or plan.min_cohort > graph.threshold + 1:
        return tuple(roster.adverts)
    return tuple(position for position in neighbours if position in roster.adverts)


def check_signatures(
    roster: Roster, *, plan: SumPlan, directory: KeyDirectory, signers: tuple[int, ...], context: bytes
) -> None:
    """Each of `signers` advertised under the identity that the directory pins."""
    for position in signers:
        advert = roster.adverts[position]
        name = plan.clients[position]
        message = signed_message("advertise", context=context, name=name, body=advert.body)
        if not verified(directory.members[name], advert.signature, message):
            raise RefusedError(f"the advertisement of {name!r} is not signed by its identity")


def check_enough(
    present: tuple[int, ...], *, plan: SumPlan, graph: GraphPlan, neighbours: tuple[int, ...], doing: str
) -> None:
    """At least min_cohort clients, and the threshold among our own neighbours, are still there."""
    if len(present) < plan.min_cohort:
        raise RefusedError(f"only {len(present)} clients {doing}, min_cohort = {plan.min_cohort}")
    near = len(set(present) & set(neighbours))
    if near < graph.threshold:
        raise RefusedError(f"only {near} neighbours {doing}, threshold = {graph.threshold}")


def check_share_set(sharers: tuple[int, ...], *, roster: Roster, own_position: int) -> None:
    """Everybody who shared had advertised, and we are among them."""
    if own_position not in sharers:
        raise RefusedError("the share set leaves this client out although it shared")
    if not set(sharers) <= set(roster.adverts):
        raise RefusedError("the share set names clients that never advertised")


def check_survivors(survivors: tuple[int, ...], *, sharers: tuple[int, ...], own_position: int, plan: SumPlan) -> None:
    """Survivors had shared, we are one of them, and each coordinate is filled by enough of them."""
    if own_position not in survivors:
        raise RefusedError("the survivor set lists this client as dropped although it uploaded")
    if not set(survivors) <= set(sharers):
        raise RefusedError("the survivor set names clients that never shared or had already dropped")
    if plan.manifest.entries:
        check_fillers(tuple(plan.clients[position] for position in survivors), plan=plan)
