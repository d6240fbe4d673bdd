//go:build linux

package engine

import (
	"time"

	"acrd/internal/buildkit/control"

	"github.com/moby/buildkit/client"
)

// cachePolicy is what is removed when, in this order, at most once a minute
// and after builds:
//
//  1. contexts, git checkouts and cache mounts that nobody used for two days,
//     once they are more than 512 MB;
//  2. what nobody used for 60 days, down to the reserved size;
//  3. anything that is not in use and not shared, then anything not in use,
//     oldest first, until the cache is within its size and the disk has its
//     free space.
func cachePolicy(c control.Cache) []client.PruneInfo {
	return []client.PruneInfo{
		{
			Filter:       []string{"type==source.local,type==exec.cachemount,type==source.git.checkout"},
			KeepDuration: 48 * time.Hour, MaxUsedSpace: 512 << 20,
		},
		{KeepDuration: 60 * 24 * time.Hour, ReservedSpace: c.Reserved, MaxUsedSpace: c.MaxUsed, MinFreeSpace: c.MinFree},
		{ReservedSpace: c.Reserved, MaxUsedSpace: c.MaxUsed, MinFreeSpace: c.MinFree},
		{All: true, ReservedSpace: c.Reserved, MaxUsedSpace: c.MaxUsed, MinFreeSpace: c.MinFree},
	}
}
