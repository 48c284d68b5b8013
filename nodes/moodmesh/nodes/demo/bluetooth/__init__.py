"""`moodmesh demo bluetooth`: two devices without a network in common, and then with one."""
