package sim

import "net/netip"

// maxIncidents is how many places there are to call.
const maxIncidents = 1000

// sites are the places on the internet: of the range for benchmarks (RFC 2544), which
// nobody else in a run calls.
var sites = netip.MustParsePrefix("198.18.0.0/15")

const (
	sitePort   = 8443
	vmSitePort = 20_000 // and more, a port each
)

// Incident is a pod that called a place which nobody else calls.
type Incident struct {
	At    int64 // the first packet, Unix ms, true time
	Pod   *Pod
	To    netip.AddrPort
	Class Class // ToInternet or ToVM
}

// incidents plants the calls: each at a random moment, by one of the pods that could
// send then and have an address of their own. The first and the last tenth of the run
// stay free, so that both edges of the watch are far.
func incidents(cfg *Config, pods []*Pod) []intent {
	r := stream(cfg.Seed, "incidents", 0)
	var out []intent
	edge := ms(cfg.Duration) / 10
	for tries := 0; len(out) < cfg.Incidents && tries < 100*cfg.Incidents; tries++ {
		at := between(r, cfg.startMS()+edge, cfg.endMS()-edge)
		in := intent{at: at, salt: r.Uint64(), class: ToInternet, site: int32(len(out) + 1)}
		if len(out)%2 == 1 {
			in.class = ToVM
		}
		var able []intent
		for i, p := range pods {
			for j, s := range p.Sandboxes {
				if !p.HostNetwork && s.sendFrom <= at && at < s.sendTo {
					in.pod, in.box, in.node = int32(i), int32(j), int32(p.Node)
					able = append(able, in)
				}
			}
		}
		if len(able) > 0 {
			out = append(out, able[r.IntN(len(able))])
		}
	}
	return out
}

// toSite sets the place that an incident calls, and notes it.
func (o *opener) toSite(f *flowRecord, in *intent) {
	w, n := o.world, int(in.site)
	f.dst, f.dport = plus(sites, n), sitePort
	if in.class == ToVM {
		vm := o.cfg.Nodes + n%numVMs
		f.dst, f.dport, f.dstNIC = w.NICs[vm].ip(false), uint16(vmSitePort+n), int32(vm)
	}
	w.Incidents = append(w.Incidents, Incident{At: in.at, Pod: w.Pods[in.pod], To: netip.AddrPortFrom(f.dst, f.dport), Class: in.class})
}
