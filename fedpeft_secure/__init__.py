"""A privacy-first framework for parameter-efficient federated fine-tuning of foundation models."""
