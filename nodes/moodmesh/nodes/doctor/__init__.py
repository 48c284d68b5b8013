"""`moodmesh doctor`, one side: what is missing or broken on this device, and the command that mends it (mesh-lessons §5)."""
