package main

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// world is the `spec` of a PolicyTest, as far as random worlds use it.
type world struct {
	Namespaces  []named           `json:"namespaces"`
	Workloads   []workload        `json:"workloads"`
	Nodes       []named           `json:"nodes"`
	Externals   []external        `json:"externals"`
	Enforcement string            `json:"policyEnforcement"`
	Documents   []json.RawMessage `json:"policies"`
	Probes      []probe           `json:"probes"`
}

// named is a namespace or a node.
type named struct {
	Name      string            `json:"name"`
	Labels    map[string]string `json:"labels"`
	Addresses []netip.Addr      `json:"ips"`
}

type workload struct {
	named
	Namespace      string            `json:"namespace"`
	ServiceAccount string            `json:"serviceAccountName"`
	NamedPorts     map[string]string `json:"namedPorts"`
}

type external struct {
	named
	Names []string `json:"names"`
}

type probe struct {
	From     string `json:"from"`
	To       string `json:"to"`
	Family   string `json:"family"`
	Protocol string `json:"protocol"`
	Port     uint16 `json:"port"`
	ICMP     *struct {
		Type uint8 `json:"type"`
	} `json:"icmp"`
}

// host is the name of the local node, and these are its addresses.
const host = "host"

var hostAddresses = []netip.Addr{netip.MustParseAddr("10.200.0.1"), netip.MustParseAddr("fd00:200::1")}

// answer puts the world into the library and asks it about every probe.
func (w *world) answer() answer {
	policies, refused := read(w.Documents)
	if len(refused) > 0 {
		return answer{Refused: refused}
	}
	asked, err := newOracle(w, policies)
	if err != nil {
		return answer{Error: err.Error()}
	}
	verdicts := make([]verdict, 0, len(w.Probes))
	for _, probe := range w.Probes {
		verdict, err := asked.ask(probe)
		if err != nil {
			return answer{Error: err.Error()}
		}
		verdicts = append(verdicts, verdict)
	}
	return answer{Verdicts: verdicts}
}

// labelsOf are the labels of a namespace; one that is not listed has the one that every namespace has.
func (w *world) labelsOf(namespace string) map[string]string {
	labels := map[string]string{"kubernetes.io/metadata.name": namespace}
	for _, known := range w.Namespaces {
		if known.Name == namespace {
			for key, value := range known.Labels {
				labels[key] = value
			}
		}
	}
	return labels
}

// is whether the address is of the probe's family.
func (p *probe) is(address netip.Addr) bool {
	return address.Is6() == (p.Family == "IPv6")
}

// port reads `80/TCP`.
func port(text string) (number uint16, protocol string, err error) {
	digits, protocol, _ := strings.Cut(text, "/")
	if protocol == "" {
		protocol = "TCP"
	}
	parsed, err := strconv.ParseUint(digits, 10, 16)
	if err != nil {
		return 0, "", fmt.Errorf("named port %q: %w", text, err)
	}
	return uint16(parsed), protocol, nil
}
