"""Texts, varied for training: synonyms, and translation there and back."""
