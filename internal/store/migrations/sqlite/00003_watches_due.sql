-- +goose Up
-- A watch is due when its time has come and nobody holds it. What is held and not
-- saved has a time that has passed: an index of times alone would find all of it.
DROP INDEX watches_next;
CREATE INDEX watches_due ON watches (kind, max(next_at, lease_until));

-- +goose Down
DROP INDEX watches_due;
CREATE INDEX watches_next ON watches (kind, next_at);
