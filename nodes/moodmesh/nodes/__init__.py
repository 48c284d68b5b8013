"""One device: its life, its store, its engine, its decisions, its API, CLI and page."""
