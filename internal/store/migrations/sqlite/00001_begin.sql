-- +goose Up
CREATE TABLE runs (
  seq        INTEGER PRIMARY KEY,
  status     TEXT    NOT NULL,
  type       TEXT    NOT NULL,
  task       TEXT    NOT NULL,
  task_limit INTEGER NOT NULL,
  priority   INTEGER NOT NULL,
  pinned     TEXT    NOT NULL,
  created    INTEGER NOT NULL,
  finished   INTEGER NOT NULL DEFAULT 0,
  archived   INTEGER NOT NULL,
  cancel     INTEGER NOT NULL DEFAULT 0,
  attempt    INTEGER NOT NULL DEFAULT 0,
  owner      TEXT    NOT NULL DEFAULT '',
  log_bytes  INTEGER NOT NULL DEFAULT 0,
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
  seq    INTEGER PRIMARY KEY REFERENCES runs ON DELETE CASCADE,
  sealed BLOB    NOT NULL
);

CREATE TABLE run_images (
  image TEXT    NOT NULL,
  seq   INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
  PRIMARY KEY (image, seq)
) WITHOUT ROWID;
CREATE INDEX run_images_run ON run_images (seq);

CREATE TABLE daemons (
  id          TEXT    PRIMARY KEY,
  name        TEXT    NOT NULL,
  lease_until INTEGER NOT NULL
);

CREATE TABLE events (
  seq     INTEGER PRIMARY KEY AUTOINCREMENT,
  id      TEXT    NOT NULL UNIQUE,
  type    TEXT    NOT NULL,
  subject TEXT    NOT NULL,
  time    INTEGER NOT NULL,
  data    TEXT    NOT NULL,
  settled INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX events_open ON events (seq) WHERE settled = 0;
CREATE INDEX events_time ON events (time);

CREATE TABLE tasks (
  name    TEXT    PRIMARY KEY,
  updated INTEGER NOT NULL,
  sealed  BLOB    NOT NULL
);

CREATE TABLE task_runs (
  name    TEXT    PRIMARY KEY,
  updated INTEGER NOT NULL,
  sealed  BLOB    NOT NULL
);

CREATE TABLE tokens (
  hash    BLOB    PRIMARY KEY,
  name    TEXT    NOT NULL UNIQUE,
  scopes  TEXT    NOT NULL,
  created INTEGER NOT NULL,
  expires INTEGER NOT NULL
);

CREATE TABLE secrets (
  name    TEXT    PRIMARY KEY,
  updated INTEGER NOT NULL,
  sealed  BLOB    NOT NULL
);

CREATE TABLE meta (
  name  TEXT PRIMARY KEY,
  value TEXT NOT NULL
);
INSERT INTO meta VALUES ('next run', '1'), ('claim', '');

-- +goose Down
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
