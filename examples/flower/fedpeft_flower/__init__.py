"""The Flower app: it carries messages, and holds nothing that is worth stealing."""
