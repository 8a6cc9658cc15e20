"""Poisoning: what lying clients do to the model, through the secure sum."""

from attacks.poisoning.backdoor import Backdoor, PoisonOutcome, play_backdoor, poison

__all__ = ["Backdoor", "PoisonOutcome", "play_backdoor", "poison"]
