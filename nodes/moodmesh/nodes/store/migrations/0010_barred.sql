-- Devices and network addresses of those who were found out cheating in a room, and until when they are left out (room-mood §5.1).
CREATE TABLE room_barred (
    who TEXT PRIMARY KEY,
    until REAL NOT NULL
) STRICT;
