package main

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"

	ipcache "github.com/cilium/cilium/pkg/ipcache/types"
	"github.com/cilium/cilium/pkg/k8s"
	cilium "github.com/cilium/cilium/pkg/k8s/apis/cilium.io/v2"
	networking "github.com/cilium/cilium/pkg/k8s/slim/k8s/api/networking/v1"
	"github.com/cilium/cilium/pkg/policy/api"
	"github.com/cilium/cilium/pkg/policy/types"
	"github.com/cilium/cilium/pkg/policy/utils"
	tiered "sigs.k8s.io/network-policy-api/apis/v1alpha2"
)

// policies has the policies and objects of a world's documents.
type policies struct {
	entries  map[ipcache.ResourceID]types.PolicyEntries
	groups   []cilium.CiliumCIDRGroup
	services []*service
}

// header is the header of a document.
type header struct {
	Kind     string `json:"kind"`
	Metadata struct {
		Name      string            `json:"name"`
		Namespace string            `json:"namespace"`
		Labels    map[string]string `json:"labels"`
	} `json:"metadata"`
}

// read reads all documents; objects first, since policies refer to them whatever their order.
func read(documents []json.RawMessage) (*policies, map[int]string) {
	all := &policies{entries: map[ipcache.ResourceID]types.PolicyEntries{}}
	refused := map[int]string{}
	headers := make([]header, len(documents))
	for at, document := range documents {
		if err := json.Unmarshal(document, &headers[at]); err != nil {
			refused[at] = err.Error()
		} else if err := all.object(headers[at], document); err != nil {
			refused[at] = err.Error()
		}
	}
	for at, document := range documents {
		if err := all.policy(headers[at], document); err != nil {
			refused[at] = err.Error()
		}
	}
	return all, refused
}

// object reads an object that policies refer to.
func (p *policies) object(header header, document []byte) error {
	switch header.Kind {
	case "CiliumCIDRGroup":
		var group cilium.CiliumCIDRGroup
		if err := json.Unmarshal(document, &group); err != nil {
			return err
		}
		p.groups = append(p.groups, group)
	case "Service":
		return p.service(header, document)
	case "Endpoints", "EndpointSlice":
		return p.endpoints(header, document)
	}
	return nil
}

// policy reads a policy as the agent does.
func (p *policies) policy(header header, document []byte) error {
	entries, err := p.parse(header, document)
	if err != nil || entries == nil {
		return err
	}
	kind := map[string]ipcache.ResourceKind{
		"NetworkPolicy":                  ipcache.ResourceKindNetpol,
		"CiliumNetworkPolicy":            ipcache.ResourceKindCNP,
		"CiliumClusterwideNetworkPolicy": ipcache.ResourceKindCCNP,
		"ClusterNetworkPolicy":           ipcache.ResourceKindKCNP,
	}[header.Kind]
	id := ipcache.NewResourceID(kind, header.Metadata.Namespace, header.Metadata.Name)
	if _, known := p.entries[id]; known {
		return fmt.Errorf("%s is there twice", id)
	}
	p.entries[id] = entries
	return nil
}

func (p *policies) parse(header header, document []byte) (types.PolicyEntries, error) {
	switch header.Kind {
	case "NetworkPolicy":
		var policy networking.NetworkPolicy
		if err := json.Unmarshal(document, &policy); err != nil {
			return nil, err
		}
		return k8s.ParseNetworkPolicy(quiet, clusterName, &policy)
	case "ClusterNetworkPolicy":
		var policy tiered.ClusterNetworkPolicy
		if err := json.Unmarshal(document, &policy); err != nil {
			return nil, err
		}
		return k8s.ParseClusterNetworkPolicy(quiet, clusterName, &policy)
	case "CiliumNetworkPolicy", "CiliumClusterwideNetworkPolicy":
		// Its reader takes a policy without namespace for the clusterwide kind.
		var policy cilium.CiliumNetworkPolicy
		if err := json.Unmarshal(document, &policy); err != nil {
			return nil, err
		}
		if header.Kind == "CiliumNetworkPolicy" && policy.Namespace == "" {
			policy.Namespace = "default"
		}
		p.resolve(append(slices.Clone(policy.Specs), policy.Spec))
		rules, err := policy.Parse(quiet, clusterName)
		if err != nil {
			return nil, err
		}
		return utils.RulesToPolicyEntries(rules), nil
	case "CiliumCIDRGroup", "Service", "Endpoints", "EndpointSlice":
		return nil, nil
	default:
		return nil, fmt.Errorf("%s is read by no part of the library", header.Kind)
	}
}

// prefixes returns the prefixes that policies name.
func (p *policies) prefixes() map[netip.Prefix]bool {
	all := map[netip.Prefix]bool{}
	for selector := range p.selectors() {
		for _, prefix := range selector.GetCIDRPrefixes() {
			all[prefix.Masked()] = true
		}
	}
	return all
}

// domains are the domain selectors of all policies.
func (p *policies) domains() []*api.FQDNSelector {
	var all []*api.FQDNSelector
	for selector := range p.selectors() {
		if domain, is := selector.GetFQDNSelector(); is {
			all = append(all, domain)
		}
	}
	return all
}

// selectors goes through the peers of all policies.
func (p *policies) selectors() func(func(types.Selector) bool) {
	return func(yield func(types.Selector) bool) {
		for _, entries := range p.entries {
			for _, entry := range entries {
				for _, selector := range entry.L3 {
					if !yield(selector) {
						return
					}
				}
			}
		}
	}
}
