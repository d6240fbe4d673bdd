package main

import (
	"fmt"

	"github.com/docker/go-units"
)

// parseBytes reads 512m, 4g or a number of bytes.
func parseBytes(text string) (int64, error) {
	n, err := units.RAMInBytes(text)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("%q is not a size: want a number with k, m, g or t", text)
	}
	return n, nil
}
