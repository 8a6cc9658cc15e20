"""Noise that nobody adds alone: integer shares whose sum, over the honest survivors of a secure sum, is the noise."""
