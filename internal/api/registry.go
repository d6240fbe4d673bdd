package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"time"

	"acrd/internal/acr"
	"acrd/runner"
)

// Policies are kept by the registry.
type Policies interface {
	Policies() acr.Policies
	// ChangePolicies keeps what change makes of them, or nothing, if it fails.
	ChangePolicies(change func(*acr.Policies) error) (acr.Policies, error)
}

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
	LoginServer         string       `json:"loginServer"`
	ProvisioningState   string       `json:"provisioningState"`
	AdminUserEnabled    bool         `json:"adminUserEnabled"`
	DataEndpointEnabled bool         `json:"dataEndpointEnabled"`
	PublicNetworkAccess string       `json:"publicNetworkAccess"`
	ZoneRedundancy      string       `json:"zoneRedundancy"`
	Policies            acr.Policies `json:"policies"`
}

func (s *Server) theRegistry(r *http.Request) registry {
	if s.Policies == nil {
		return s.registryWith(r, acr.NoPolicies())
	}
	return s.registryWith(r, s.Policies.Policies())
}

func (s *Server) registryWith(r *http.Request, policies acr.Policies) registry {
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
		Properties: registryProperties{
			LoginServer: s.Info.Registry, ProvisioningState: "Succeeded", PublicNetworkAccess: "Enabled", ZoneRedundancy: "Disabled", Policies: policies,
		},
	}
}

func (s *Server) showRegistry(w http.ResponseWriter, r *http.Request) error {
	return reply(w, http.StatusOK, s.theRegistry(r))
}

func (s *Server) listRegistries(w http.ResponseWriter, r *http.Request) error {
	return reply(w, http.StatusOK, page[registry]{Value: []registry{s.theRegistry(r)}})
}

// updateRegistry changes policies. All else is the daemon's to say: a body may
// have it as it is.
func (s *Server) updateRegistry(w http.ResponseWriter, r *http.Request) error {
	var patch map[string]any
	if err := read(w, r, &patch); err != nil {
		return err
	}
	if s.Policies == nil {
		return &runner.InvalidError{Err: errors.New("this daemon has no policies")}
	}
	_, err := s.Policies.ChangePolicies(func(p *acr.Policies) error {
		now, err := patchedRegistry(s.registryWith(r, *p), patch)
		if err != nil {
			return err
		}
		*p = now.Properties.Policies.Since(*p, time.Now().UTC())
		return nil
	})
	if err != nil {
		return err
	}
	return s.showRegistry(w, r)
}

func patchedRegistry(was registry, patch map[string]any) (now registry, err error) {
	b, err := json.Marshal(was)
	if err != nil {
		return was, err
	}
	var before, after map[string]any
	if err := errors.Join(json.Unmarshal(b, &before), json.Unmarshal(b, &after)); err != nil {
		return was, err
	}
	merge(after, patch)
	if faults := differences("", before, after); len(faults) > 0 {
		return was, faults
	}
	if b, err = json.Marshal(after); err != nil {
		return was, err
	}
	return now, badBody(json.Unmarshal(b, &now))
}

// differences are what a client may not change, or not to this.
func differences(at string, before, after map[string]any) runner.Faults {
	names := maps.Clone(before)
	maps.Copy(names, after)
	var faults runner.Faults
	for _, name := range slices.Sorted(maps.Keys(names)) {
		path := strings.TrimPrefix(at+"."+name, ".")
		was, isObject := before[name].(map[string]any)
		now, stays := after[name].(map[string]any)
		switch {
		case isObject && stays:
			faults = append(faults, differences(path, was, now)...)
		case isPolicyStatus(path) && before[name] != nil:
			if after[name] != acr.PolicyEnabled && after[name] != acr.PolicyDisabled {
				faults = append(faults, runner.Fault{Code: "InvalidProperty", Target: path, Message: "It is enabled or disabled."})
			}
		case policyDays[path] != [2]float64{}:
			least, most := policyDays[path][0], policyDays[path][1]
			if n, ok := after[name].(float64); !ok || n < least || n > most || n != math.Trunc(n) {
				faults = append(faults, runner.Fault{Code: "InvalidProperty", Target: path, Message: fmt.Sprintf("It is a number of days, %g to %g.", least, most)})
			}
		case !reflect.DeepEqual(before[name], after[name]):
			faults = append(faults, runner.Fault{Code: "InvalidProperty", Target: path, Message: "The registry of a daemon has this as it is: only its policies can be changed."})
		}
	}
	return faults
}

// policyDays are the times of policies, and between what they are.
var policyDays = map[string][2]float64{
	"properties.policies.softDeletePolicy.retentionDays": {1, 90},
	"properties.policies.retentionPolicy.days":           {0, 365},
}

func isPolicyStatus(path string) bool {
	return strings.HasPrefix(path, "properties.policies.") && strings.HasSuffix(path, ".status")
}
