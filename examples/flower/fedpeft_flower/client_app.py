"""What a SuperNode runs for each message: it hands the bytes to the node's own worker, and brings the answer back.

This code is sent by the server, so it gets to see nothing: keys, data, budget and the secrets of a round are in the
worker, a process of the node's owner, which checks the server's signature on every byte that this code hands over.
"""

from pathlib import Path

from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from fedpeft_secure.engines.flower.flower_carrier import pack, unpack
from fedpeft_secure.engines.flower.forward import forward

app = ClientApp()


@app.query()
def query(message: Message, context: Context) -> Message:
    """One order, and its answer."""
    data = unpack(message.content)
    if data is None:
        raise ValueError("this is no order of fedpeft-secure")
    answer = forward(Path(str(context.node_config["socket"])), data, seconds=message.metadata.ttl)
    return Message(pack(answer), reply_to=message)
