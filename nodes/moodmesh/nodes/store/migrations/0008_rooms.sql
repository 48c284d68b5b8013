-- Rooms this device is in, and what each epoch told (room-mood §3). `closed`: the last epoch whose right to open a sum was used;
-- `size`: how many were there last. No mood of a person is here.
CREATE TABLE room (
    id TEXT PRIMARY KEY,
    descriptor TEXT NOT NULL,
    trust TEXT NOT NULL CHECK (trust IN ('verified', 'assumed')),
    joined REAL NOT NULL,
    closed INTEGER NOT NULL DEFAULT -1,
    size INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE reading (
    room TEXT NOT NULL REFERENCES room(id) ON DELETE CASCADE,
    epoch INTEGER NOT NULL,
    reading TEXT NOT NULL,
    PRIMARY KEY (room, epoch)
) STRICT;
-- Since when this device has a privacy ledger: one that is missing then is noticed (room-mood §8).
CREATE TABLE ledger_begun (at REAL NOT NULL) STRICT;
