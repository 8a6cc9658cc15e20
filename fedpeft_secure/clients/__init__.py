"""What a client does: train on its own examples, charge its ledger, answer the server."""
