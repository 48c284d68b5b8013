"""How the owner of this device feels, from what was said and sensed. Nothing here ever leaves it (systems S2)."""
