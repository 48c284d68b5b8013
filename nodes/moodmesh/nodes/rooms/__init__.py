"""Rooms: who is in one, what may be sent to it, and how it feels (room-mood)."""
