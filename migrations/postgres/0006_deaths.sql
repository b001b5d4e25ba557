-- How many processes died while they ran the job: what ends each process that takes it up is not taken up for ever.
ALTER TABLE job ADD COLUMN deaths BIGINT NOT NULL DEFAULT 0;
