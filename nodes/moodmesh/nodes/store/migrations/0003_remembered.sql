-- What a peer could do when it was last seen: work may wait for it although this device has been restarted (routing §7).
ALTER TABLE peer ADD COLUMN document TEXT;   -- JSON: `Capability`

-- The seconds of work that an executor signed for: what else an attempt took was waiting and messages (routing §10).
ALTER TABLE attempt ADD COLUMN worked REAL;
