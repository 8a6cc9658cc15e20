"""The digest of a base model's weights: by it a client knows that it tunes the model that it was asked to."""

import hashlib

import numpy as np
import torch


def base_digest(model: torch.nn.Module) -> str:
    """SHA-256 over the names, shapes and values of all tensors that are not trained.

    Does not cover: tensors that are trained from their first values on; the round plan's model hash does.
    """
    together = hashlib.sha256(b"fedpeft-secure/base-model/v1\0")
    for name, tensor in sorted(model.named_parameters()):
        if tensor.requires_grad:
            continue
        values = np.ascontiguousarray(tensor.detach().to("cpu", torch.float32).numpy())
        together.update(f"{name}\0{values.shape}\0".encode())
        together.update(values.data)
    return together.hexdigest()
