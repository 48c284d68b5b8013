"""`moodmesh demo`: three daemons on this machine, a real job, and a device that dies in the middle of another."""
