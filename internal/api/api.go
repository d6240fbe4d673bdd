// Package api is the management API of the daemon, both ends of it: the
// [Server], and the [Client] that the command line uses.
//
// Paths, names and bodies are those of Azure's Microsoft.ContainerRegistry
// (2019-06-01-preview), so that its SDKs fit. What Azure lacks is an extra
// field or an extra path below the same root: a run's log and progress as
// streams, uploads file by file, SSH agents.
package api

// root is where the resources of the one registry are. Whatever subscription,
// group and registry a client names, it means this daemon.
const root = "/subscriptions/{subscription}/resourceGroups/{group}/providers/Microsoft.ContainerRegistry/registries/{registry}"

// LogPath is where the log of a run can be read, with a token.
func LogPath(run string) string { return ourRoot + "/runs/" + run + "/log" }

// ResourceID is what events call the registry: the topic that they come from.
const ResourceID = ourRoot

// ourRoot is the root that our own client uses.
const ourRoot = "/subscriptions/acrd/resourceGroups/acrd/providers/Microsoft.ContainerRegistry/registries/acrd"
