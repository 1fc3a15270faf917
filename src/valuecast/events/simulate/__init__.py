"""A synthetic shop with known truth, of any size."""
