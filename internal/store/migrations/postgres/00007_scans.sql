-- +goose Up
-- When a base was found in the source of a task that was not built since, in
-- microseconds; 0 for what a build was on. Its digest is empty until somebody has
-- looked what was there then.
ALTER TABLE bases ADD COLUMN scanned BIGINT NOT NULL DEFAULT 0;

-- +goose Down
ALTER TABLE bases DROP COLUMN scanned;
