-- +goose Up
CREATE TABLE runs (
  seq        BIGINT  PRIMARY KEY,
  status     TEXT    NOT NULL,
  type       TEXT    NOT NULL,
  task       TEXT    NOT NULL,
  task_limit BIGINT  NOT NULL,
  priority   BIGINT  NOT NULL,
  pinned     TEXT    NOT NULL,
  created    BIGINT  NOT NULL,
  finished   BIGINT  NOT NULL DEFAULT 0,
  archived   BIGINT  NOT NULL,
  cancel     BIGINT  NOT NULL DEFAULT 0,
  attempt    BIGINT  NOT NULL DEFAULT 0,
  owner      TEXT    NOT NULL DEFAULT '',
  log_bytes  BIGINT  NOT NULL DEFAULT 0,
  request    TEXT    NOT NULL,
  record     TEXT    NOT NULL
);
CREATE INDEX runs_queue ON runs (priority, seq) WHERE status = 'Queued';
CREATE INDEX runs_busy ON runs (task) WHERE status IN ('Started', 'Running');
CREATE INDEX runs_status ON runs (status, seq);
CREATE INDEX runs_task ON runs (task, seq);
CREATE INDEX runs_created ON runs (created, seq);
CREATE INDEX runs_finished ON runs (finished, seq);

CREATE TABLE run_requests (
  seq    BIGINT  PRIMARY KEY REFERENCES runs ON DELETE CASCADE,
  sealed BYTEA   NOT NULL
);

CREATE TABLE run_images (
  image TEXT    NOT NULL,
  seq   BIGINT  NOT NULL REFERENCES runs ON DELETE CASCADE,
  PRIMARY KEY (image, seq)
);
CREATE INDEX run_images_run ON run_images (seq);

CREATE TABLE daemons (
  id          TEXT    PRIMARY KEY,
  name        TEXT    NOT NULL,
  lease_until BIGINT  NOT NULL
);

CREATE TABLE events (
  seq     BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  id      TEXT    NOT NULL UNIQUE,
  type    TEXT    NOT NULL,
  subject TEXT    NOT NULL,
  time    BIGINT  NOT NULL,
  data    TEXT    NOT NULL,
  settled BIGINT  NOT NULL DEFAULT 0
);
CREATE INDEX events_open ON events (seq) WHERE settled = 0;
CREATE INDEX events_time ON events (time);

CREATE TABLE tasks (
  name    TEXT    PRIMARY KEY,
  updated BIGINT  NOT NULL,
  sealed  BYTEA   NOT NULL
);

CREATE TABLE task_runs (
  name    TEXT    PRIMARY KEY,
  updated BIGINT  NOT NULL,
  sealed  BYTEA   NOT NULL
);

CREATE TABLE tokens (
  hash    BYTEA   PRIMARY KEY,
  name    TEXT    NOT NULL UNIQUE,
  scopes  TEXT    NOT NULL,
  created BIGINT  NOT NULL,
  expires BIGINT  NOT NULL
);

CREATE TABLE secrets (
  name    TEXT    PRIMARY KEY,
  updated BIGINT  NOT NULL,
  sealed  BYTEA   NOT NULL
);

CREATE TABLE meta (
  name  TEXT PRIMARY KEY,
  value TEXT NOT NULL
);
INSERT INTO meta VALUES ('claim', '');
CREATE SEQUENCE run_ids;

-- +goose Down
DROP SEQUENCE run_ids;
DROP TABLE meta;
DROP TABLE secrets;
DROP TABLE tokens;
DROP TABLE task_runs;
DROP TABLE tasks;
DROP TABLE events;
DROP TABLE daemons;
DROP TABLE run_images;
DROP TABLE run_requests;
DROP TABLE runs;
