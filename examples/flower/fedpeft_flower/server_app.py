"""The server's half: the same training loop as `fedpeft run`, over Flower's grid."""

from pathlib import Path

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from fedpeft_secure.engines.flower.flower_carrier import FlowerCarrier
from fedpeft_secure.engines.flower.serving import serve_run

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Runs what the settings file says, anew or from the last finished round."""
    settings = Path(str(context.run_config["settings"]))
    serve_run(settings, FlowerCarrier(grid), start=str(context.run_config["start"]))
