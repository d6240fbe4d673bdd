-- +goose Up
-- Who wants to be told. seq is what other tables know a subscription by: one that
-- is made again under its name inherits nothing. owner empties its queue.
CREATE TABLE subscriptions (
  seq         BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  kind        TEXT    NOT NULL,
  name        TEXT    NOT NULL,
  sealed      BYTEA   NOT NULL,
  owner       TEXT    NOT NULL DEFAULT '',
  lease_until BIGINT NOT NULL DEFAULT 0,
  health      TEXT    NOT NULL DEFAULT '',
  UNIQUE (kind, name)
);

-- What each is still to be told. next_at is 0 for what was never tried: due rows are
-- the first ones of their subscription. lane is for those who keep an order.
CREATE TABLE event_queue (
  subscription BIGINT NOT NULL REFERENCES subscriptions ON DELETE CASCADE,
  next_at      BIGINT NOT NULL,
  event        BIGINT NOT NULL,
  queued_at    BIGINT NOT NULL,
  lane         BIGINT NOT NULL DEFAULT 0,
  attempts     BIGINT NOT NULL DEFAULT 0,
  tried_at     BIGINT NOT NULL DEFAULT 0,
  outcome      TEXT    NOT NULL DEFAULT '',
  status       BIGINT NOT NULL DEFAULT 0,
  PRIMARY KEY (subscription, next_at, event)
);

-- What could not be told. due_at is when it is to be written to where dead letters
-- go; 0 is that it was, or that there is no such place.
CREATE TABLE event_dead (
  seq          BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  subscription BIGINT NOT NULL REFERENCES subscriptions ON DELETE CASCADE,
  event        BIGINT NOT NULL,
  dead_at      BIGINT NOT NULL,
  due_at       BIGINT NOT NULL,
  reason       TEXT    NOT NULL,
  queued_at    BIGINT NOT NULL,
  attempts     BIGINT NOT NULL,
  tried_at     BIGINT NOT NULL,
  outcome      TEXT    NOT NULL,
  status       BIGINT NOT NULL
);
CREATE INDEX event_dead_due ON event_dead (subscription, due_at) WHERE due_at > 0;
CREATE INDEX event_dead_newest ON event_dead (subscription, seq);
CREATE INDEX event_dead_age ON event_dead (dead_at);

-- The last exchanges with each: slot is a number that goes round.
CREATE TABLE event_history (
  subscription BIGINT NOT NULL REFERENCES subscriptions ON DELETE CASCADE,
  slot         BIGINT NOT NULL,
  at           BIGINT NOT NULL,
  sealed       BYTEA   NOT NULL,
  PRIMARY KEY (subscription, slot)
);

-- +goose Down
DROP TABLE event_history;
DROP TABLE event_dead;
DROP TABLE event_queue;
DROP TABLE subscriptions;
