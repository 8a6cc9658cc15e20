"""Attacks on the recorded transcript of a run, and the audits of its guarantees."""
