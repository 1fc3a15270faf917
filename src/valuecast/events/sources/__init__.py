"""Where rows come from: files, workbooks and databases, each opened as a shard that the engine can scan."""
