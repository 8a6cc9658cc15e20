"""Poisoning: what lying clients do to the model, through the secure sum."""

from attacks.poisoning.backdoor import Backdoor, PoisonOutcome, play_backdoor, poison, without_length_check

__all__ = ["Backdoor", "PoisonOutcome", "play_backdoor", "poison", "without_length_check"]
