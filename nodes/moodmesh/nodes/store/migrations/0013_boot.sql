-- Nobody reads which run of the daemon owned a worker: after a restart all are gone.
ALTER TABLE execution DROP COLUMN boot;
