"""What the server does: plan a round, run it, improve the adapter, keep checkpoints."""
