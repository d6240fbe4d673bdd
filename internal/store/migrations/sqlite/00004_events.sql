-- +goose Up
-- Who wants to be told. seq is what other tables know a subscription by: one that
-- is made again under its name inherits nothing. owner empties its queue.
CREATE TABLE subscriptions (
  seq         INTEGER PRIMARY KEY AUTOINCREMENT,
  kind        TEXT    NOT NULL,
  name        TEXT    NOT NULL,
  sealed      BLOB    NOT NULL,
  owner       TEXT    NOT NULL DEFAULT '',
  lease_until INTEGER NOT NULL DEFAULT 0,
  health      TEXT    NOT NULL DEFAULT '',
  UNIQUE (kind, name)
);

-- What each is still to be told. next_at is 0 for what was never tried: due rows are
-- the first ones of their subscription. lane is for those who keep an order.
CREATE TABLE event_queue (
  subscription INTEGER NOT NULL REFERENCES subscriptions ON DELETE CASCADE,
  next_at      INTEGER NOT NULL,
  event        INTEGER NOT NULL,
  queued_at    INTEGER NOT NULL,
  lane         INTEGER NOT NULL DEFAULT 0,
  attempts     INTEGER NOT NULL DEFAULT 0,
  tried_at     INTEGER NOT NULL DEFAULT 0,
  outcome      TEXT    NOT NULL DEFAULT '',
  status       INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (subscription, next_at, event)
) WITHOUT ROWID;

-- What could not be told. due_at is when it is to be written to where dead letters
-- go; 0 is that it was, or that there is no such place.
CREATE TABLE event_dead (
  seq          INTEGER PRIMARY KEY AUTOINCREMENT,
  subscription INTEGER NOT NULL REFERENCES subscriptions ON DELETE CASCADE,
  event        INTEGER NOT NULL,
  dead_at      INTEGER NOT NULL,
  due_at       INTEGER NOT NULL,
  reason       TEXT    NOT NULL,
  queued_at    INTEGER NOT NULL,
  attempts     INTEGER NOT NULL,
  tried_at     INTEGER NOT NULL,
  outcome      TEXT    NOT NULL,
  status       INTEGER NOT NULL
);
CREATE INDEX event_dead_due ON event_dead (subscription, due_at) WHERE due_at > 0;
CREATE INDEX event_dead_newest ON event_dead (subscription, seq);
CREATE INDEX event_dead_age ON event_dead (dead_at);

-- The last exchanges with each: slot is a number that goes round.
CREATE TABLE event_history (
  subscription INTEGER NOT NULL REFERENCES subscriptions ON DELETE CASCADE,
  slot         INTEGER NOT NULL,
  at           INTEGER NOT NULL,
  sealed       BLOB    NOT NULL,
  PRIMARY KEY (subscription, slot)
) WITHOUT ROWID;

-- +goose Down
DROP TABLE event_history;
DROP TABLE event_dead;
DROP TABLE event_queue;
DROP TABLE subscriptions;
