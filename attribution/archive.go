package attribution

import (
	"net/netip"
)

// archive is what the ledger knows of all pods at one moment, in a form that is small
// and that the garbage collector need not look into. It is never changed; many may
// share most of their memory. Pods are numbered from 0, in the order in which they
// came.
type archive struct {
	words    words
	pages    []*page
	pods     uint32
	uids     table
	v4       chains[uint32]   // by address, network order
	v6       chains[[16]byte] // likewise
	places   chains[uint32]   // by the word for the place
	known    []place          // by number of place
	clusters map[string]clusterTotal

	suspicion suspicion
}

// clusterTotal counts pods of a cluster.
type clusterTotal struct {
	pods   int
	forced int // see pod.forced
}

// place is where pods run.
type place struct {
	cluster, node string
	hostNetwork   bool // the pods are on the node's network
	addresses     []netip.Addr
}

// page holds the records of pagePods pods, or fewer in the last one.
type page struct {
	starts []uint32 // in data
	data   []byte
}

// pagePods is how many pods share a page. A page is written anew when one of its pods
// changes, so this weighs the work of that against the space that is lost at the end
// of each page.
const pagePods = 1024

func (a *archive) recordOf(n uint32) []byte {
	p := a.pages[n/pagePods]
	return p.data[p.starts[n%pagePods]:]
}

// record is one of its records, cut to its length.
func (p *page) record(i int) []byte {
	if i+1 < len(p.starts) {
		return p.data[p.starts[i]:p.starts[i+1]]
	}
	return p.data[p.starts[i]:]
}

// keyOf is what the record of pod n begins with: see recordKey.
func (a *archive) keyOf(n uint32) []byte {
	b := a.recordOf(n)
	d := recordDecoder{b: b}
	d.key()
	return b[:d.next]
}

// clusterOf is the cluster of pod n.
func (a *archive) clusterOf(n uint32) string {
	d := recordDecoder{b: a.recordOf(n)}
	cluster, _, _ := d.key()
	return a.words.text(cluster)
}

// uidIs says whether pod n has this UID.
func (a *archive) uidIs(n uint32, uid string) bool {
	d := recordDecoder{b: a.recordOf(n)}
	_, have, isUUID := d.key()
	if isUUID {
		want, ok := parseUUID(uid)
		return ok && string(have) == string(want[:])
	}
	return string(have) == uid
}

// addressID is the number of an address that a pod ever had.
func (a *archive) addressID(addr netip.Addr) (uint32, bool) {
	if addr.Is4() {
		n, ok := a.v4.find(v4Key(addr))
		return n << 1, ok
	}
	n, ok := a.v6.find(addr.As16())
	return n<<1 | 1, ok && addr.Zone() == ""
}

// eachAt calls yield with the numbers of all pods of an address, in any cluster, until
// it returns false.
func (a *archive) eachAt(addr netip.Addr, yield func(n uint32) bool) {
	if id, ok := a.addressID(addr); ok {
		a.eachOf(id, yield)
	}
}

// eachOf is eachAt, by the number of the address.
func (a *archive) eachOf(id uint32, yield func(n uint32) bool) {
	if id&1 == 0 {
		a.v4.each(id>>1, yield)
	} else {
		a.v6.each(id>>1, yield)
	}
}

// eachAddress calls yield with all addresses.
func (a *archive) eachAddress(yield func(netip.Addr)) {
	for n := range a.v4.keys {
		yield(a.addressOf(uint32(n) << 1))
	}
	for n := range a.v6.keys {
		yield(a.addressOf(uint32(n)<<1 | 1))
	}
}
