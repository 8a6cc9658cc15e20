"""How good the model is for each client: on held-out data of its own, with what it has kept for itself."""

from fedpeft_secure.aggregation.context import RoundContext
from fedpeft_secure.result import ClientUtility, PersonalUtility
from fedpeft_secure.server.checkpoints import Progress
from fedpeft_secure.server.evaluation import predict
from fedpeft_secure.server.federation import Federation


def personal_utility(federation: Federation, progress: Progress) -> PersonalUtility | None:
    """Accuracies on the clients' held-out examples; None where `data.client_test_fraction` keeps nothing back.

    Does not cover: privacy. Only a simulation knows them; they are functions of private data, without noise.
    """
    context = RoundContext(plan=federation.agreed, spec=federation.backbone.spec, state=progress.state)
    rows = []
    for name, client in federation.clients.items():
        if client.held_out is None:
            continue
        personal = federation.strategy.start(context, name).personal
        client.forget_uncharged(context.plan.model_copy(update={"round": progress.rounds_done + 1}))
        kept = client.own.before(progress.rounds_done + 1)
        own = progress.state.replace({name: value for name, value in kept.items() if name in personal})
        shared = predict(federation.backbone, progress.state, client.held_out).accuracy
        accuracy = predict(federation.backbone, own, client.held_out).accuracy if personal else shared
        rows.append(ClientUtility(client=name, accuracy=accuracy, shared_accuracy=shared))
    if not rows:
        return None
    return PersonalUtility(
        accuracy=sum(row.accuracy for row in rows) / len(rows),
        shared_accuracy=sum(row.shared_accuracy for row in rows) / len(rows),
        clients=tuple(rows),
    )
