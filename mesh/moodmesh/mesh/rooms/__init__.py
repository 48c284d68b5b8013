"""RoomSum: how a room opens the sum of what its members share, and nothing else (room-mood §3 to §6, §9)."""
