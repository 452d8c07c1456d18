"""A stand-in of the published engine: its interface as trainers see it, and nothing beyond that."""
