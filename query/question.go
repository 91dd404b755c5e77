package query

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Endpoint is an address or a range of addresses, with or without a port.
type Endpoint struct {
	Prefix  netip.Prefix
	Port    uint16
	HasPort bool
}

// ParseEndpoint reads ADDR, ADDR:PORT, [ADDR]:PORT, CIDR or CIDR:PORT.
func ParseEndpoint(s string) (Endpoint, error) {
	if a, err := netip.ParseAddr(s); err == nil {
		return endpointOf(a)
	}
	if p, err := netip.ParsePrefix(s); err == nil {
		return Endpoint{Prefix: p.Masked()}, nil
	}
	host, port, ok := cutPort(s)
	if !ok {
		return Endpoint{}, fmt.Errorf("%q is no address, want ADDR, ADDR:PORT or [IPV6]:PORT", s)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return Endpoint{}, fmt.Errorf("port of %q is %q, want 1 to 65535", s, port)
	}
	e, err := ParseEndpoint(host)
	if err != nil || e.HasPort {
		return Endpoint{}, fmt.Errorf("%q is no address, want ADDR, ADDR:PORT or [IPV6]:PORT", s)
	}
	e.Port, e.HasPort = uint16(n), true
	return e, nil
}

func cutPort(s string) (host, port string, ok bool) {
	i := strings.LastIndexByte(s, ':')
	if i < 0 {
		return "", "", false
	}
	host, port = s[:i], s[i+1:]
	if strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]") {
		return host[1 : len(host)-1], port, true
	}
	return host, port, !strings.Contains(host, ":") || strings.Contains(host, "/")
}

func endpointOf(a netip.Addr) (Endpoint, error) {
	if a.Zone() != "" {
		return Endpoint{}, fmt.Errorf("address %q has a zone, want none", a)
	}
	a = a.Unmap()
	return Endpoint{Prefix: netip.PrefixFrom(a, a.BitLen())}, nil
}

// Valid says whether it was set.
func (e Endpoint) Valid() bool { return e.Prefix.IsValid() }

// Single is the one address, or false for a range.
func (e Endpoint) Single() (netip.Addr, bool) {
	return e.Prefix.Addr(), e.Prefix.IsValid() && e.Prefix.IsSingleIP()
}

func (e Endpoint) String() string {
	if !e.Valid() {
		return ""
	}
	if a, ok := e.Single(); ok {
		if e.HasPort {
			return netip.AddrPortFrom(a, e.Port).String()
		}
		return a.String()
	}
	if e.HasPort {
		return e.Prefix.String() + ":" + strconv.Itoa(int(e.Port))
	}
	return e.Prefix.String()
}

// Question is what was asked. At excludes Since and Until; 0 is not given.
type Question struct {
	Of        Endpoint
	To        Endpoint
	At        int64 // Unix milliseconds
	Since     int64
	Until     int64 // exclusive
	AsKnownAt int64
}

// MarshalJSON writes the question as the contract has it.
func (q Question) MarshalJSON() ([]byte, error) {
	out := struct {
		Address   string  `json:"address"`
		Port      *uint16 `json:"port"`
		To        *string `json:"to"`
		At        Time    `json:"at"`
		Since     Time    `json:"since"`
		Until     Time    `json:"until"`
		AsKnownAt Time    `json:"as_known_at"`
	}{At: Time(q.At), Since: Time(q.Since), Until: Time(q.Until), AsKnownAt: Time(q.AsKnownAt)}
	if a, ok := q.Of.Single(); ok {
		out.Address = a.String()
	} else if q.Of.Valid() {
		out.Address = q.Of.Prefix.String()
	}
	if q.Of.HasPort {
		out.Port = &q.Of.Port
	}
	if q.To.Valid() {
		to := q.To.String()
		out.To = &to
	}
	return json.Marshal(out)
}

// in says whether a row's time is in the range asked for.
func (q *Question) in(t int64) bool {
	return t >= q.Since && (q.Until == 0 || t < q.Until)
}
