"""`moodmesh bench roommood`: how far off the mood of a room is, and whether its noise hides what it promises to."""
