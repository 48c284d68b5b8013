"""`moodmesh demo room`: people who come, go and crash, and what the room says of how they feel beside how they do."""
