"""Language models that read what users did: where they come from, what they read, and the networks made of them."""
