-- +goose Up
CREATE TABLE dispatchers (
  owner       TEXT PRIMARY KEY,
  lease_until INTEGER NOT NULL
);

-- +goose Down
DROP TABLE dispatchers;
