package main

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"

	"github.com/cilium/cilium/pkg/endpoint/regeneration"
	"github.com/cilium/cilium/pkg/identity"
	"github.com/cilium/cilium/pkg/identity/identitymanager"
	"github.com/cilium/cilium/pkg/policy"
	"github.com/cilium/cilium/pkg/policy/api"
	testidentity "github.com/cilium/cilium/pkg/testutils/identity"
	testpolicy "github.com/cilium/cilium/pkg/testutils/policy"
	"github.com/cilium/cilium/pkg/types"
	"github.com/cilium/cilium/pkg/u8proto"
	proxy "github.com/cilium/proxy/go/cilium/api"
)

// said is the verdict of one end: "allow", "deny", "proxy", or empty where no policy applies.
type said string

// oracle is a world in the library's types.
type oracle struct {
	world      *world
	repository *policy.Repository
	// ends by name, and by name and family where the two differ.
	ends map[string]end
	// resolved has the policies of each subject so far: all probes of a world share them.
	resolved map[identity.NumericIdentity]*policy.EndpointPolicy
	named    types.NamedPortMultiMap
}

func (o *oracle) GetNamedPorts() types.NamedPortMultiMap { return o.named }

func newOracle(world *world, all *policies) (*oracle, error) {
	mode := world.Enforcement
	if mode == "" {
		mode = "default"
	}
	policy.SetPolicyEnabled(mode)
	asked := &oracle{world: world, ends: map[string]end{}, resolved: map[identity.NumericIdentity]*policy.EndpointPolicy{}}
	if err := asked.populate(all); err != nil {
		return nil, err
	}
	ids := identity.IdentityMap{}
	identity.IterateReservedIdentities(func(number identity.NumericIdentity, of *identity.Identity) {
		ids[number] = of.LabelArray
	})
	named := types.NewNamedPortMultiMap()
	for _, one := range asked.ends {
		ids[one.identity.ID] = one.identity.LabelArray
		named.Update(one.identity.ID, nil, one.ports)
	}
	asked.named = named
	manager := identitymanager.NewIDManager(quiet)
	asked.repository = policy.NewPolicyRepository(quiet, ids, nil, requests{}, manager, testpolicy.NewPolicyMetricsNoop())
	asked.repository.GetSelectorCache().SetLocalIdentityNotifier(testidentity.NewDummyIdentityNotifier())
	asked.repository.SetNamedPortsGetter(asked)
	asked.repository.UpdateIdentities(ids, nil)
	for resource, entries := range all.entries {
		asked.repository.ReplaceByResource(entries, resource)
	}
	return asked, nil
}

// populate gives every end of the world its identity.
func (o *oracle) populate(all *policies) error {
	backends := all.find("default", "kubernetes").backends
	isAPIServer := func(address netip.Addr) bool { return slices.Contains(backends, address) }
	if !slices.ContainsFunc(o.world.Nodes, func(node named) bool { return node.Name == host }) {
		o.world.Nodes = append(o.world.Nodes, named{Name: host})
	}
	for at, pod := range o.world.Workloads {
		one, err := o.world.pod(at)
		if err != nil {
			return err
		}
		o.ends[pod.Namespace+"/"+pod.Name] = one
	}
	for at, node := range o.world.Nodes {
		if node.Name == host {
			o.ends[host] = o.world.host(at, isAPIServer)
			continue
		}
		for _, address := range node.Addresses {
			o.ends[familiar(node.Name, address.Is6())] = o.world.node(at, address, isAPIServer)
		}
	}
	known, err := newOutside(all, isAPIServer)
	if err != nil {
		return err
	}
	for _, external := range o.world.Externals {
		for _, address := range external.Addresses {
			one, err := known.external(len(o.ends), address, external.Names)
			if err != nil {
				return err
			}
			o.ends[familiar(external.Name, address.Is6())] = one
		}
	}
	return nil
}

// familiar is the name of an end that differs by family.
func familiar(name string, is6 bool) string {
	if is6 {
		return name + " IPv6"
	}
	return name + " IPv4"
}

func (o *oracle) find(name string, is6 bool) (end, error) {
	names := []string{name, familiar(name, is6)}
	if !strings.Contains(name, "/") {
		names = append(names, "default/"+name)
	}
	for _, name := range names {
		if found, is := o.ends[name]; is {
			return found, nil
		}
	}
	return end{}, fmt.Errorf("there is no %s", name)
}

// ask returns the verdicts of both ends; an end without policies allows everything.
func (o *oracle) ask(probe probe) (verdict, error) {
	is6 := probe.Family == "IPv6"
	from, err := o.find(probe.From, is6)
	if err != nil {
		return verdict{}, err
	}
	to, err := o.find(probe.To, is6)
	if err != nil {
		return verdict{}, err
	}
	protocol, port := protocols[probe.Protocol], probe.Port
	if probe.ICMP != nil {
		protocol, port = u8proto.ICMP, uint16(probe.ICMP.Type)
		if is6 {
			protocol = u8proto.ICMPv6
		}
	}
	var both verdict
	if from.isAsked && probe.From != probe.To {
		key := policy.EgressKey().WithIdentity(to.identity.ID).WithPortProto(protocol, port)
		if both.Egress, err = o.side(from, key); err != nil {
			return verdict{}, err
		}
	}
	if to.isAsked && probe.From != probe.To {
		key := policy.IngressKey().WithIdentity(from.identity.ID).WithPortProto(protocol, port)
		if both.Ingress, err = o.side(to, key); err != nil {
			return verdict{}, err
		}
	}
	return both, nil
}

// side returns the verdict of one end.
func (o *oracle) side(subject end, key policy.Key) (said, error) {
	resolved := o.resolved[subject.identity.ID]
	if resolved == nil {
		known := subject.identity
		if subject.subject != nil {
			known = subject.subject
		}
		selected, _, err := o.repository.ComputeSelectorPolicy(known)
		if err != nil {
			return "", err
		}
		redirects := map[string]uint16{policy.FallbackRedirectID: math.MaxUint16}
		resolved = selected.DistillPolicy(quiet, owner{subject}, redirects)
		resolved.Ready()
		resolved.Detach(quiet)
		selected.Supersede()
		o.resolved[subject.identity.ID] = resolved
	}
	entry, _, _ := resolved.Lookup(key)
	switch {
	case entry.IsDeny():
		return "deny", nil
	case entry.IsRedirectEntry():
		return "proxy", nil
	default:
		return "allow", nil
	}
}

// requests replaces the translation of HTTP rules for the proxy, which does not run here.
type requests struct{}

func (requests) GetEnvoyHTTPRules(*api.L7Rules, string) (*proxy.HttpNetworkPolicyRules, bool) {
	return &proxy.HttpNetworkPolicyRules{}, true
}

// owner is a subject in the library's form.
type owner struct{ end }

func (o owner) GetID() uint64 { return uint64(o.identity.ID) }

func (o owner) GetIngressNamedPort(name string, protocol u8proto.U8proto) uint16 {
	number, err := o.ports.GetNamedPort(name, protocol)
	if err != nil {
		return 0
	}
	return number
}

func (o owner) PolicyDebug(string, ...any) {}

func (o owner) IsHost() bool { return o.identity.ID == identity.ReservedIdentityHost }

func (o owner) PreviousMapStateSizes() policy.MapStateSizes { return policy.MapStateSizes{} }

func (o owner) RegenerateIfAlive(*regeneration.ExternalRegenerationMetadata) <-chan bool {
	done := make(chan bool)
	close(done)
	return done
}

var _ policy.PolicyOwner = owner{}
