"""Who is there, can I trust them, how do bytes get across."""
