"""Labelled texts: read and checked, split, learned by a language model, and more labels found for it."""
