-- +goose Up
-- What triggers have noticed, and what became of it.
CREATE TABLE intents (
  seq        BIGINT  GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  task       TEXT    NOT NULL,
  key        TEXT    NOT NULL,
  at         BIGINT  NOT NULL,
  sealed     BYTEA   NOT NULL,
  decided_at BIGINT  NOT NULL DEFAULT 0,
  run        BIGINT  NOT NULL DEFAULT 0,
  why        TEXT    NOT NULL DEFAULT '',
  UNIQUE (task, key)
);
CREATE INDEX intents_open ON intents (seq) WHERE decided_at = 0;
CREATE INDEX intents_decided ON intents (task, decided_at, seq);
CREATE INDEX intents_age ON intents (decided_at) WHERE decided_at > 0;
CREATE INDEX intents_run ON intents (run) WHERE run > 0;

-- The timers of tasks that may run, as the tasks have them. next_at is 0 until
-- somebody has looked when that is, and -1 if it is never.
CREATE TABLE timers (
  task     TEXT    NOT NULL,
  name     TEXT    NOT NULL,
  doc      TEXT    NOT NULL,
  since    BIGINT  NOT NULL,
  next_at  BIGINT  NOT NULL DEFAULT 0,
  last_at  BIGINT  NOT NULL DEFAULT 0,
  fired_at BIGINT  NOT NULL DEFAULT 0,
  held     BIGINT  NOT NULL DEFAULT 0,
  PRIMARY KEY (task, name)
);
CREATE INDEX timers_next ON timers (next_at) WHERE next_at >= 0 AND held = 0;
CREATE INDEX timers_held ON timers (next_at) WHERE held = 1;

-- What is looked at elsewhere again and again: repositories, images.
CREATE TABLE watches (
  kind        TEXT    NOT NULL,
  id          TEXT    NOT NULL,
  sealed      BYTEA   NOT NULL,
  next_at     BIGINT  NOT NULL,
  owner       TEXT    NOT NULL DEFAULT '',
  lease_until BIGINT  NOT NULL DEFAULT 0,
  PRIMARY KEY (kind, id)
);
CREATE INDEX watches_next ON watches (kind, next_at);

-- The images that the last successful build of a task was built on.
CREATE TABLE bases (
  task     TEXT    NOT NULL,
  ref      TEXT    NOT NULL,
  platform TEXT    NOT NULL,
  role     TEXT    NOT NULL,
  digest   TEXT    NOT NULL,
  run      TEXT    NOT NULL,
  PRIMARY KEY (task, ref, platform, role)
);
CREATE INDEX bases_ref ON bases (ref);

-- The webhooks that were taken, so that none is taken twice.
CREATE TABLE deliveries (
  kind TEXT    NOT NULL,
  id   TEXT    NOT NULL,
  at   BIGINT  NOT NULL,
  PRIMARY KEY (kind, id)
);
CREATE INDEX deliveries_age ON deliveries (at);

-- +goose Down
DROP TABLE deliveries;
DROP TABLE bases;
DROP TABLE watches;
DROP TABLE timers;
DROP TABLE intents;
