"""From a score to sound and pictures: voices, rooms, levels, files, players."""
