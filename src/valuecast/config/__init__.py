"""What users set: recipes, and how networks learn, read strictly from TOML."""
