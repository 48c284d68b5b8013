"""What published rules say of music and mood, and a composer that needs no model (systems S19)."""
