"""Reading the sum back from a transcript: the server's own computation, for whoever holds its messages."""

from secagg.errors import RoundFailedError
from secagg.identity import KeyDirectory
from secagg.messages import SERVER, Transcript
from secagg.one_message import OneMessageSum
from secagg.plan import SumPlan
from secagg.session import Aggregate
from secagg.simulate import SecureSum


def replay_aggregate(
    protocol: SecureSum, plan: SumPlan, transcript: Transcript, *, directory: KeyDirectory | None = None
) -> Aggregate:
    """Steps a fresh server through the recorded messages, phase by phase.

    Raises: RoundFailedError when the transcript holds no finished round of this plan.
    """
    server = protocol.server(plan, directory=directory)
    steps = protocol.steps if isinstance(protocol, OneMessageSum) else protocol.phases
    for phase in steps:
        inbox = transcript.between(recipient=SERVER, phase=phase)
        if not inbox:
            continue
        server, _ = server.step(inbox)
        if server.result is not None:
            return server.result
    raise RoundFailedError("the transcript ends before the sum; it holds no finished round of this plan")
