-- +goose Up
CREATE TABLE dispatchers (
  owner       TEXT PRIMARY KEY,
  lease_until BIGINT NOT NULL
);

-- +goose Down
DROP TABLE dispatchers;
