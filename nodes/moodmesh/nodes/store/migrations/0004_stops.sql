-- When this device was asked to stop a job of an absent one, until that one has answered (routing §8).
ALTER TABLE replica ADD COLUMN stop REAL;
