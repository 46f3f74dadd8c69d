package main

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/cilium/cilium/pkg/identity"
	constants "github.com/cilium/cilium/pkg/k8s/apis/cilium.io"
	"github.com/cilium/cilium/pkg/k8s/utils"
	"github.com/cilium/cilium/pkg/labels"
	"github.com/cilium/cilium/pkg/policy/api"
	"github.com/cilium/cilium/pkg/types"
	"github.com/cilium/cilium/pkg/u8proto"
)

// firstAllocated is above all reserved numbers.
const firstAllocated = 1000

// end is one end of a connection.
type end struct {
	// identity is the end's identity as a peer.
	identity *identity.Identity
	// subject is the end's identity as a subject, where it differs.
	subject *identity.Identity
	// isAsked is whether this node enforces policies for the end.
	isAsked bool
	ports   types.NamedPortMap
}

// namespace is a namespace in the library's form.
type namespace struct {
	name   string
	labels map[string]string
}

func (n namespace) GetName() string              { return n.name }
func (n namespace) GetLabels() map[string]string { return n.labels }

// pod is the end of a workload. The labels of a world's workloads differ, so that each is an identity of its own.
func (w *world) pod(at int) (end, error) {
	pod := &w.Workloads[at]
	in := namespace{pod.Namespace, w.labelsOf(pod.Namespace)}
	account := pod.ServiceAccount
	if account == "" {
		account = "default"
	}
	sanitized := utils.SanitizePodLabels(pod.Labels, in, account, clusterName)
	ports := types.NamedPortMap{}
	for name, text := range pod.NamedPorts {
		number, protocol, err := port(text)
		if err != nil {
			return end{}, err
		}
		if err := ports.AddPort(name, int(number), protocol); err != nil {
			return end{}, fmt.Errorf("named port %s of %s: %w", name, pod.Name, err)
		}
	}
	id := identity.NumericIdentity(firstAllocated + at)
	of := identity.NewIdentity(id, labels.Map2Labels(sanitized, labels.LabelSourceK8s))
	return end{identity: of, isAsked: true, ports: ports}, nil
}

// host is the end of the local node, which is one identity whatever its addresses.
func (w *world) host(at int, isAPIServer func(netip.Addr) bool) end {
	all := w.nodeLabels(at, labels.LabelHost)
	if slices.ContainsFunc(hostAddresses, isAPIServer) {
		all.MergeLabels(labels.LabelKubeAPIServer)
	}
	// Its own endpoint has the node's labels as labels of Kubernetes.
	own := labels.NewFrom(labels.LabelHost)
	own.MergeLabels(labels.Map2Labels(w.Nodes[at].Labels, labels.LabelSourceK8s))
	return end{
		identity: identity.AddReservedIdentityWithLabels(identity.ReservedIdentityHost, all),
		subject:  identity.NewIdentity(identity.ReservedIdentityHost, own),
		isAsked:  true,
	}
}

// node is the end of an address of another node.
func (w *world) node(at int, address netip.Addr, isAPIServer func(netip.Addr) bool) end {
	all := w.nodeLabels(at, labels.LabelRemoteNode)
	if isAPIServer(address) {
		all.MergeLabels(labels.LabelKubeAPIServer)
	}
	number := 2*at + 1
	if address.Is6() {
		number++
	}
	return end{identity: identity.NewIdentity(identity.IdentityScopeRemoteNode|identity.NumericIdentity(number), all)}
}

func (w *world) nodeLabels(at int, reserved labels.Labels) labels.Labels {
	all := labels.NewFrom(reserved)
	all.MergeLabels(labels.Map2Labels(w.Nodes[at].Labels, labels.LabelSourceNode))
	cluster := map[string]string{constants.PolicyLabelCluster: clusterName}
	all.MergeLabels(labels.Map2Labels(cluster, labels.LabelSourceK8s))
	return all
}

// outside finds the labels of addresses outside the cluster.
type outside struct {
	prefixes    map[netip.Prefix]labels.Labels
	domains     []*api.FQDNSelector
	isAPIServer func(netip.Addr) bool
}

// newOutside collects the prefixes that policies and objects name.
func newOutside(all *policies, isAPIServer func(netip.Addr) bool) (*outside, error) {
	known := &outside{map[netip.Prefix]labels.Labels{}, all.domains(), isAPIServer}
	for prefix := range all.prefixes() {
		known.add(prefix, labels.GetCIDRLabels(prefix))
	}
	for _, group := range all.groups {
		own := labels.Labels{}
		for key, value := range utils.RemoveCiliumLabels(group.Labels) {
			plain := labels.NewLabel(key, value, labels.LabelSourceCIDRGroup)
			encoded := labels.EncodedCIDRGroupLabel(key, value, labels.LabelSourceCIDRGroup)
			own[plain.Key], own[encoded.Key] = plain, encoded
		}
		reference := api.LabelForCIDRGroupRef(group.Name)
		own[reference.Key] = reference
		for _, text := range group.Spec.ExternalCIDRs {
			prefix, err := netip.ParsePrefix(string(text))
			if err != nil {
				return nil, err
			}
			known.add(prefix.Masked(), own)
		}
	}
	return known, nil
}

func (o *outside) add(prefix netip.Prefix, more labels.Labels) {
	if o.prefixes[prefix] == nil {
		o.prefixes[prefix] = labels.Labels{}
	}
	o.prefixes[prefix].MergeLabels(more)
}

// of returns an address's labels: the longest prefix with a label counts, and only one block is named.
func (o *outside) of(address netip.Addr, names []string) (labels.Labels, error) {
	all := labels.Labels{}
	for _, domain := range o.domains {
		expression, err := domain.ToRegex()
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(names, func(name string) bool { return expression.MatchString(name + ".") }) {
			label := domain.IdentityLabel()
			all[label.Key] = label
		}
	}
	hasBlock := false
	for bits := address.BitLen(); bits >= 0; bits-- {
		prefix, _ := address.Prefix(bits)
		isNamed := false
		for key, label := range o.prefixes[prefix] {
			isBlock := label.Source == labels.LabelSourceCIDR
			if _, has := all[key]; has || isBlock && hasBlock {
				continue
			}
			all[key] = label
			isNamed = isNamed || isBlock
		}
		hasBlock = hasBlock || isNamed
	}
	if o.isAPIServer(address) {
		all.MergeLabels(labels.LabelKubeAPIServer)
	}
	all.AddWorldLabel(address)
	return all, nil
}

// external is the end of an address outside.
func (o *outside) external(at int, address netip.Addr, names []string) (end, error) {
	all, err := o.of(address, names)
	if err != nil {
		return end{}, err
	}
	if len(all) == 1 {
		world := identity.ReservedIdentityWorldIPv4
		if address.Is6() {
			world = identity.ReservedIdentityWorldIPv6
		}
		return end{identity: identity.LookupReservedIdentity(world)}, nil
	}
	number := identity.IdentityScopeLocal | identity.NumericIdentity(at+1)
	return end{identity: identity.NewIdentity(number, all)}, nil
}

// protocols are the protocols of probes.
var protocols = map[string]u8proto.U8proto{"": u8proto.TCP, "TCP": u8proto.TCP, "UDP": u8proto.UDP, "SCTP": u8proto.SCTP}
