-- +goose Up
CREATE TABLE event_sources (
  name        TEXT    PRIMARY KEY,
  hash        BLOB    NOT NULL UNIQUE,
  sealed      BLOB    NOT NULL,
  owner       TEXT    NOT NULL DEFAULT '',
  lease_until INTEGER NOT NULL DEFAULT 0
);

CREATE TABLE notices (
  source  TEXT    NOT NULL REFERENCES event_sources ON DELETE CASCADE,
  id      TEXT    NOT NULL,
  about   TEXT    NOT NULL,
  action  TEXT    NOT NULL,
  digest  TEXT    NOT NULL,
  doc     TEXT    NOT NULL,
  at      INTEGER NOT NULL,
  next_at INTEGER NOT NULL,
  tries   INTEGER NOT NULL DEFAULT 0,
  ended   INTEGER NOT NULL DEFAULT 0,
  outcome TEXT    NOT NULL DEFAULT '',
  why     TEXT    NOT NULL DEFAULT '',
  PRIMARY KEY (source, id)
);
CREATE INDEX notices_due ON notices (source, next_at) WHERE ended = 0;
CREATE INDEX notices_about ON notices (source, about, ended) WHERE ended > 0;
CREATE INDEX notices_at ON notices (at);

-- +goose Down
DROP TABLE notices;
DROP TABLE event_sources;
