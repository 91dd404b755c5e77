package ingest

import (
	"strings"
	"time"
)

// Name is the name that a blob has everywhere: in rows, positions and evidence. It
// is the part of a path from the component on that starts with flowLogResourceID= or
// resourceId=, in any case, so that a container and a mirror of it, whatever folder
// it lies in, name a blob alike. A path without such a component is its own name.
//
// The containers of Azure Firewall's logs, one a category, have blobs of equal names:
// there the name begins with the container's, where the path has it.
func Name(path string) string {
	for rest := path; ; {
		if hasPrefixFold(rest, "flowLogResourceID=") || hasPrefixFold(rest, "resourceId=") || hasPrefixFold(rest, "insights-logs-az") {
			return rest
		}
		i := strings.IndexByte(rest, '/')
		if i < 0 {
			return path
		}
		rest = rest[i+1:]
	}
}

func hasPrefixFold(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}

// IsFlowLog says whether a listed path, inside its container or folder, may be a flow
// log: Azure writes PT1H.json, but mirrors and exports rename it. What lies under
// whichpod-nat/ is NAT evidence.
func IsFlowLog(path string) bool {
	const ext = ".json"
	return len(path) >= len(ext) && strings.EqualFold(path[len(path)-len(ext):], ext) && !IsEvidence(path)
}

// IsEvidence says whether a path lies under whichpod-nat/.
func IsEvidence(path string) bool { return strings.Contains("/"+path, "/whichpod-nat/") }

// Containers are the beginnings of the names of containers that may have logs of
// flows: "insights-logs-" and the log's category, of which those of Azure Firewall are
// AZFW… and AzureFirewall… ("Azure resource logs", azure-monitor).
func Containers() []string {
	return []string{"insights-logs-flowlogflowevent", "insights-logs-networksecuritygroupflowevent", "insights-logs-azfw", "insights-logs-azurefirewall"}
}

var separators = strings.NewReplacer(":", "", "-", "", ".", "")

// NormalMAC writes a MAC as flow logs do: 12 upper-case hexadecimal digits without
// separators. It returns false where s is none.
func NormalMAC(s string) (string, bool) {
	if len(s) > 17 { // with a separator after each pair
		return "", false
	}
	mac := strings.ToUpper(separators.Replace(s))
	if len(mac) != 12 {
		return "", false
	}
	for i := range len(mac) {
		if hexDigit(mac[i]) < 0 {
			return "", false
		}
	}
	return mac, true
}

// pathMAC is the MAC in a blob's name, …/macAddress=XXXXXXXXXXXX/PT1H.json, or "".
func pathMAC(name string) string {
	for part := range strings.SplitSeq(name, "/") {
		if hasPrefixFold(part, "macAddress=") {
			mac, _ := NormalMAC(part[len("macAddress="):])
			return mac
		}
	}
	return ""
}

// BlobOf is the interface and the hour that a blob's name tells, or "" where it does
// not tell both.
func BlobOf(name string) (mac string, hour time.Time) {
	from, to, ok := hoursOf(name)
	if !ok || to.Sub(from) != time.Hour {
		return "", time.Time{}
	}
	return pathMAC(name), from
}
