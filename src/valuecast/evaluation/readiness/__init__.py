"""Can this log support this task? One file for each check; ``check`` puts them together."""
