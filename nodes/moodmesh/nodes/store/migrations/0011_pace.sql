-- In which epochs this device takes part in a room: in one of so many, by the count of epochs alone (room-mood §2.2).
ALTER TABLE room ADD COLUMN every INTEGER NOT NULL DEFAULT 1;
