"""The Flower engine: the same sessions and messages as in process, carried by SuperLink and SuperNodes."""
