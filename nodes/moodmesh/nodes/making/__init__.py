"""What `moodmesh make` does between a wish and files: the mood that is meant, what was given, what is written and heard."""
