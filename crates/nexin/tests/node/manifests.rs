//! The manifest that tests of HTTP rules vary: the requests that the workload `server` allows on port 80, and the peers.

/// A CiliumNetworkPolicy: `server` allows on port 80 the requests that one of the HTTP rules matches, and no other
/// traffic. The literals are the policy's name, an entry of `ingress` that selects the peers, and the HTTP rules.
macro_rules! requests_to_server {
    ($name:literal, $peers:literal, $rules:literal) => {
        concat!(
            "apiVersion: cilium.io/v2\n",
            "kind: CiliumNetworkPolicy\n",
            "metadata: {name: ",
            $name,
            "}\n",
            "spec:\n",
            "  endpointSelector: {matchLabels: {app: server}}\n",
            "  ingress:\n",
            "  - ",
            $peers,
            "\n",
            "    toPorts:\n",
            "    - ports: [{port: \"80\", protocol: TCP}]\n",
            "      rules: {http: [",
            $rules,
            "]}\n",
        )
    };
}

pub(crate) use requests_to_server;
