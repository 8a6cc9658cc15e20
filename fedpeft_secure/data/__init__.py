"""Where the examples come from, and who holds which."""

from fedpeft_secure.data.examples import FederatedData, LabelledTexts, PlantedSecret, fingerprint
from fedpeft_secure.data.loading import load

__all__ = ["FederatedData", "LabelledTexts", "PlantedSecret", "fingerprint", "load"]
