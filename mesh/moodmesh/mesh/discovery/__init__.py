"""Ways to notice devices and be noticed, and the table of what was seen; none is trusted (mesh-lessons §4)."""
