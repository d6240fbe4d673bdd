-- +goose Up
ALTER TABLE events ADD COLUMN topic TEXT NOT NULL DEFAULT '';
ALTER TABLE events ADD COLUMN key TEXT NOT NULL DEFAULT '';
ALTER TABLE events ADD COLUMN data_version TEXT NOT NULL DEFAULT '';
ALTER TABLE events ADD COLUMN extensions TEXT NOT NULL DEFAULT '';

-- Events about changes that are about to be made where no transaction reaches.
CREATE TABLE drafts (
  id    TEXT    PRIMARY KEY,
  owner TEXT    NOT NULL,
  at    BIGINT  NOT NULL,
  draft TEXT    NOT NULL
);

-- +goose Down
DROP TABLE drafts;
ALTER TABLE events DROP COLUMN extensions;
ALTER TABLE events DROP COLUMN data_version;
ALTER TABLE events DROP COLUMN key;
ALTER TABLE events DROP COLUMN topic;
