module acrd

go 1.26.8

require (
	github.com/google/go-cmp v0.7.0
	github.com/klauspost/compress v1.19.2
	golang.org/x/sync v0.23.0
)
