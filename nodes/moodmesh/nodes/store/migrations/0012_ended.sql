-- The devices, apart by a space, on which what ran of a job was ended while its owner was away, until that says more of it (routing §8).
ALTER TABLE replica ADD COLUMN ended TEXT NOT NULL DEFAULT '';
