package steps

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// addHost reads name:address or name=address, and keeps name:address.
func addHost(into *[]string) func(string) error {
	return func(v string) error {
		at := strings.IndexAny(v, ":=")
		if at <= 0 {
			return fmt.Errorf("%q: want NAME:ADDRESS", brief(v))
		}
		name, address := v[:at], strings.TrimSuffix(strings.TrimPrefix(v[at+1:], "["), "]")
		if address == "host-gateway" {
			return errors.New("host-gateway is not supported: a step does not reach its host")
		}
		ip, err := netip.ParseAddr(address)
		switch {
		case err != nil || ip.Zone() != "":
			return fmt.Errorf("%q: %q is not an IP address", brief(v), brief(address))
		case strings.ContainsAny(name, " \t\r\n,#"):
			return fmt.Errorf("%q: %q is not the name of a host", brief(v), brief(name))
		}
		*into = append(*into, name+":"+ip.String())
		return nil
	}
}

// checkPort reads docker's -p: [[address:]host:]container[/tcp].
func checkPort(v string) error {
	text, protocol, _ := strings.Cut(v, "/")
	if protocol != "" && protocol != "tcp" {
		return fmt.Errorf("%q: only tcp is published", brief(v))
	}
	host, container := "", text
	if at := strings.LastIndexByte(text, ':'); at >= 0 {
		host, container = text[:at], text[at+1:]
	}
	address, port := "127.0.0.1", host
	if at := strings.LastIndexByte(host, ':'); at >= 0 {
		address, port = strings.Trim(host[:at], "[]"), host[at+1:]
	}
	_, err := netip.ParseAddr(address)
	if err != nil || !isPort(container, 1) || port != "" && !isPort(port, 0) {
		return fmt.Errorf("%q is not a port: want [[ADDRESS:]HOST:]CONTAINER", brief(v))
	}
	return nil
}

func isPort(v string, least uint64) bool {
	n, err := strconv.ParseUint(v, 10, 16)
	return err == nil && n >= least
}
