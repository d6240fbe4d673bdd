package api

import "net/http"

// registry is the resource that everything else is below of. There is one,
// and it answers to every name.
type registry struct {
	ID         string             `json:"id"`
	Name       string             `json:"name"`
	Type       string             `json:"type"`
	Location   string             `json:"location"`
	SKU        sku                `json:"sku"`
	Properties registryProperties `json:"properties"`
}

type sku struct {
	Name string `json:"name"`
	Tier string `json:"tier"`
}

type registryProperties struct {
	LoginServer         string `json:"loginServer"`
	ProvisioningState   string `json:"provisioningState"`
	AdminUserEnabled    bool   `json:"adminUserEnabled"`
	DataEndpointEnabled bool   `json:"dataEndpointEnabled"`
	PublicNetworkAccess string `json:"publicNetworkAccess"`
	ZoneRedundancy      string `json:"zoneRedundancy"`
}

func (s *Server) theRegistry(r *http.Request) registry {
	subscription, group, name := r.PathValue("subscription"), r.PathValue("group"), r.PathValue("registry")
	if group == "" {
		group = "acrd"
	}
	if name == "" {
		name = "acrd"
	}
	return registry{
		ID:   "/subscriptions/" + subscription + "/resourceGroups/" + group + "/providers/Microsoft.ContainerRegistry/registries/" + name,
		Name: name, Type: "Microsoft.ContainerRegistry/registries", Location: Location, SKU: sku{"Premium", "Premium"},
		Properties: registryProperties{LoginServer: s.Info.Registry, ProvisioningState: "Succeeded", PublicNetworkAccess: "Enabled", ZoneRedundancy: "Disabled"},
	}
}

func (s *Server) showRegistry(w http.ResponseWriter, r *http.Request) error {
	return reply(w, http.StatusOK, s.theRegistry(r))
}

func (s *Server) listRegistries(w http.ResponseWriter, r *http.Request) error {
	return reply(w, http.StatusOK, page[registry]{Value: []registry{s.theRegistry(r)}})
}
