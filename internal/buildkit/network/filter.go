//go:build linux

package network

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// A filter is one nftables table that says what the bridges of a pool may do.
// Its rules are about that pool's interfaces, ours, and no other's: a packet
// meets the tables of all daemons of this host, and one that drops it has the
// last word.
//
// forward: the first rule lets frames of one and the same bridge pass: with
// br_netfilter loaded the kernel shows them to this hook although nothing is
// routed, and the rule after it would cut a run off from itself.
type filter struct {
	name string
	ours string     // how the names of the pool's interfaces begin
	mu   sync.Mutex // nftables sets are changed one at a time
	same *nftables.Set
}

func installFilter(name, ours string, pool netip.Prefix) (*filter, error) {
	c, err := nftables.New()
	if err != nil {
		return nil, fmt.Errorf("%w: nftables: %w", ErrCapability, err)
	}
	t := &nftables.Table{Family: nftables.TableFamilyINet, Name: name}
	c.AddTable(t) // so that deleting cannot fail
	c.DelTable(t)
	c.AddTable(t)

	f := &filter{name: name, ours: ours, same: &nftables.Set{
		Table: t, Name: "same", Concatenation: true,
		KeyType: nftables.MustConcatSetType(nftables.TypeIFName, nftables.TypeIFName),
	}}
	if err := c.AddSet(f.same, nil); err != nil {
		return nil, fmt.Errorf("describe nftables set: %w", err)
	}
	f.addForward(c, t)
	f.addInput(c, t)
	f.addMasquerade(c, t, pool)
	if err := c.Flush(); errors.Is(err, unix.EPERM) {
		return nil, fmt.Errorf("%w: CAP_NET_ADMIN does not hold for this network namespace: install nftables table %s: %w", ErrCapability, name, err)
	} else if err != nil {
		return nil, fmt.Errorf("%w: install nftables table %s: %w", ErrCapability, name, err)
	}
	return f, nil
}

func (f *filter) addForward(c *nftables.Conn, t *nftables.Table) {
	chain := c.AddChain(&nftables.Chain{
		Name: "forward", Table: t, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookForward, Priority: nftables.ChainPriorityFilter,
	})
	rule := func(parts ...[]expr.Any) {
		r := &nftables.Rule{Table: t, Chain: chain}
		for _, p := range parts {
			r.Exprs = append(r.Exprs, p...)
		}
		c.AddRule(r)
	}
	rule([]expr.Any{
		&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1},
		&expr.Meta{Key: expr.MetaKeyOIFNAME, Register: 2},
		&expr.Lookup{SourceRegister: 1, SetName: f.same.Name, SetID: f.same.ID},
	}, accept())
	rule(from(f.ours), to(InterfacePrefix), drop())
	rule(from(f.ours), linkLocalDestination(), drop())
	rule(to(f.ours), established(), accept())
	rule(to(f.ours), drop())
}

// addInput closes every address of the host to containers: the daemon, its
// registry and whatever else listens here.
func (f *filter) addInput(c *nftables.Conn, t *nftables.Table) {
	chain := c.AddChain(&nftables.Chain{
		Name: "input", Table: t, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookInput, Priority: nftables.ChainPriorityFilter,
	})
	// Replies to the host's own connections: published ports.
	c.AddRule(&nftables.Rule{Table: t, Chain: chain, Exprs: concat(from(f.ours), established(), accept())})
	c.AddRule(&nftables.Rule{Table: t, Chain: chain, Exprs: concat(from(f.ours), drop())})
}

func (f *filter) addMasquerade(c *nftables.Conn, t *nftables.Table, pool netip.Prefix) {
	chain := c.AddChain(&nftables.Chain{
		Name: "postrouting", Table: t, Type: nftables.ChainTypeNAT,
		Hooknum: nftables.ChainHookPostrouting, Priority: nftables.ChainPriorityNATSource,
	})
	c.AddRule(&nftables.Rule{Table: t, Chain: chain, Exprs: concat(
		sourceIn(pool),
		[]expr.Any{
			&expr.Meta{Key: expr.MetaKeyOIFNAME, Register: 1},
			&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: []byte(InterfacePrefix)},
			&expr.Masq{},
		},
	)})
}

// allow lets the containers of one bridge talk to each other; forbid takes
// that back.
func (f *filter) allow(bridge string) error {
	return f.change(func(c *nftables.Conn, e []nftables.SetElement) error { return c.SetAddElements(f.same, e) }, bridge)
}

func (f *filter) forbid(bridge string) error {
	return f.change(func(c *nftables.Conn, e []nftables.SetElement) error { return c.SetDeleteElements(f.same, e) }, bridge)
}

func (f *filter) change(do func(*nftables.Conn, []nftables.SetElement) error, bridge string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	c, err := nftables.New()
	if err != nil {
		return fmt.Errorf("nftables: %w", err)
	}
	key := make([]byte, 2*unix.IFNAMSIZ)
	copy(key, bridge)
	copy(key[unix.IFNAMSIZ:], bridge)
	if err := do(c, []nftables.SetElement{{Key: key}}); err != nil {
		return fmt.Errorf("nftables set: %w", err)
	}
	if err := c.Flush(); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("change nftables set: %w", err)
	}
	return nil
}

func (f *filter) remove() error {
	if f == nil {
		return nil
	}
	c, err := nftables.New()
	if err != nil {
		return fmt.Errorf("nftables: %w", err)
	}
	c.DelTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: f.name})
	if err := c.Flush(); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("remove nftables table %s: %w", f.name, err)
	}
	return nil
}

func concat(parts ...[]expr.Any) []expr.Any {
	var all []expr.Any
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

// from and to match the beginning of an interface name: comparing only the
// first bytes is how nftables spells a prefix.
func from(prefix string) []expr.Any {
	return []expr.Any{&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte(prefix)}}
}

func to(prefix string) []expr.Any {
	return []expr.Any{&expr.Meta{Key: expr.MetaKeyOIFNAME, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte(prefix)}}
}

func established() []expr.Any {
	const bits = expr.CtStateBitESTABLISHED | expr.CtStateBitRELATED
	return []expr.Any{
		&expr.Ct{Key: expr.CtKeySTATE, Register: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: binaryutil.NativeEndian.PutUint32(bits), Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: make([]byte, 4)},
	}
}

// linkLocalDestination matches 169.254.0.0/16, where clouds keep the
// credentials of the machine.
func linkLocalDestination() []expr.Any {
	return concat(ipv4(), []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 16, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{169, 254}},
	})
}

func sourceIn(p netip.Prefix) []expr.Any {
	addr := p.Masked().Addr().As4()
	mask := make([]byte, 4)
	for i := range p.Bits() {
		mask[i/8] |= 0x80 >> (i % 8)
	}
	return concat(ipv4(), []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 12, Len: 4},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: mask, Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: addr[:]},
	})
}

func ipv4() []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.NFPROTO_IPV4}},
	}
}

func accept() []expr.Any { return []expr.Any{&expr.Verdict{Kind: expr.VerdictAccept}} }

func drop() []expr.Any {
	return []expr.Any{&expr.Counter{}, &expr.Verdict{Kind: expr.VerdictDrop}}
}
