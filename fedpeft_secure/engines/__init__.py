"""Engines: how messages travel between the server and its clients."""
