package main

import (
	"encoding/json"
	"maps"
	"net/netip"

	constants "github.com/cilium/cilium/pkg/k8s/apis/cilium.io"
	meta "github.com/cilium/cilium/pkg/k8s/slim/k8s/apis/meta/v1"
	"github.com/cilium/cilium/pkg/labels"
	"github.com/cilium/cilium/pkg/policy/api"
	"github.com/cilium/cilium/pkg/policy/types"
)

// service is a service and what stands behind it.
type service struct {
	namespace, name string
	labels          map[string]string
	selector        map[string]string
	backends        []netip.Addr
}

// inNamespace is the header's namespace, or the one that stands for none.
func (h header) inNamespace() string {
	if h.Metadata.Namespace == "" {
		return "default"
	}
	return h.Metadata.Namespace
}

func (p *policies) service(header header, document []byte) error {
	var body struct {
		Spec struct {
			Selector map[string]string `json:"selector"`
		} `json:"spec"`
	}
	if err := json.Unmarshal(document, &body); err != nil {
		return err
	}
	known := p.find(header.inNamespace(), header.Metadata.Name)
	known.labels, known.selector = header.Metadata.Labels, body.Spec.Selector
	if known.labels == nil {
		known.labels = map[string]string{}
	}
	return nil
}

// endpoints takes addresses of either form: only one has subsets, only the other has endpoints.
func (p *policies) endpoints(header header, document []byte) error {
	var body struct {
		Subsets []struct {
			Addresses []struct {
				IP netip.Addr `json:"ip"`
			} `json:"addresses"`
		} `json:"subsets"`
		Endpoints []struct {
			Addresses []netip.Addr `json:"addresses"`
		} `json:"endpoints"`
	}
	if err := json.Unmarshal(document, &body); err != nil {
		return err
	}
	name := header.Metadata.Name
	if header.Kind == "EndpointSlice" {
		name = header.Metadata.Labels["kubernetes.io/service-name"]
	}
	known := p.find(header.inNamespace(), name)
	for _, subset := range body.Subsets {
		for _, address := range subset.Addresses {
			known.backends = append(known.backends, address.IP)
		}
	}
	for _, endpoint := range body.Endpoints {
		known.backends = append(known.backends, endpoint.Addresses...)
	}
	return nil
}

// find finds a service, or makes one of which nothing is known but addresses.
func (p *policies) find(namespace, name string) *service {
	for _, known := range p.services {
		if known.namespace == namespace && known.name == name {
			return known
		}
	}
	fresh := &service{namespace: namespace, name: name}
	p.services = append(p.services, fresh)
	return fresh
}

// resolve writes what stands behind services into the rules that name them, as the agent does before it reads them.
func (p *policies) resolve(rules []*api.Rule) {
	for _, rule := range rules {
		if rule == nil {
			continue
		}
		for at := range rule.Egress {
			egress := &rule.Egress[at]
			for _, wanted := range egress.ToServices {
				for _, service := range p.services {
					if service.labels != nil && service.is(wanted) {
						service.appendTo(egress)
					}
				}
			}
		}
	}
}

// is whether a rule means this service.
func (s *service) is(wanted api.Service) bool {
	inNamespace := func(namespace string) bool { return namespace == "" || namespace == s.namespace }
	if selector := wanted.K8sServiceSelector; selector != nil {
		own := labels.Map2Labels(s.labels, labels.LabelSourceK8s)
		return inNamespace(selector.Namespace) &&
			types.Matches(types.NewLabelSelector(api.EndpointSelector(selector.Selector)), bySource(own))
	}
	named := wanted.K8sService
	return named != nil && inNamespace(named.Namespace) && named.ServiceName == s.name
}

func (s *service) appendTo(egress *api.EgressRule) {
	if len(s.selector) == 0 {
		for _, address := range s.backends {
			block := api.CIDR(netip.PrefixFrom(address, address.BitLen()).String())
			egress.ToCIDRSet = append(egress.ToCIDRSet, api.CIDRRule{Cidr: block, Generated: true})
		}
		return
	}
	selector := maps.Clone(s.selector)
	selector[constants.PodNamespaceLabel] = s.namespace
	pods := api.NewESFromK8sLabelSelector(labels.LabelSourceK8sKeyPrefix, &meta.LabelSelector{MatchLabels: selector})
	pods.Generated = true
	egress.ToEndpoints = append(egress.ToEndpoints, pods)
}

// bySource matches labels of services, whose source does not count.
type bySource labels.Labels

func (l bySource) GetLabel(label *labels.Label) string { return l[label.Key].Value }

func (l bySource) HasLabel(label *labels.Label) bool {
	_, has := l[label.Key]
	return has
}

func (l bySource) LookupLabel(label *labels.Label) (string, bool) {
	found, has := l[label.Key]
	return found.Value, has
}
