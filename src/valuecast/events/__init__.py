"""What happened: the event log, how it is made from a shop's files, and how it is kept on disk."""
