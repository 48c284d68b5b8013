"""What the composers are shown to do, and what not: `moodmesh results generation` (evaluation §5, §9)."""
