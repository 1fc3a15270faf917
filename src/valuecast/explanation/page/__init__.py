"""Explanations as a person reads them: of one user, and of a model."""
