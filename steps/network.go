package steps

import "slices"

// networks: with none listed there is one that connects every step; of those
// listed, the last default counts; without a default, steps are on none.
func (p *parser) networks() []Network {
	var all []Network
	for _, n := range p.raw.networks {
		if n.spoilt {
			continue
		}
		if n.name == "" {
			p.fault(n.node, "network name is empty")
			continue
		}
		if slices.ContainsFunc(all, func(other Network) bool { return other.Name == n.name }) {
			p.fault(p.find(n.node, "name"), "network with duplicate name found")
		}
		all = append(all, Network{Name: n.name, Driver: n.driver, IPv6: n.ipv6, SkipCreation: n.skipCreation, Default: n.isDefault})
	}
	if len(all) == 0 && p.options.Network == "" {
		all = append(all, Network{Name: DefaultNetwork, Driver: "bridge", Default: true})
	}
	if p.options.Network != "" {
		all = append(all, Network{Name: p.options.Network, Driver: "external", SkipCreation: true, Default: true})
	}
	return all
}

func (f *File) defaultNetwork() string {
	for _, n := range slices.Backward(f.Networks) {
		if n.Default {
			return n.Name
		}
	}
	return ""
}
