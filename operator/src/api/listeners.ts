/** How clients reach a cluster. */
import { productLimits } from "../../gen/product.ts";
import { onlyWith } from "./rules.ts";
import { choice, integer, list, object, optional, type Rule, text } from "./schema.ts";
import { annotations, labelSelector } from "./selectors.ts";

const port = (description: string) => integer({ description, min: 1, max: 65_535 });

const hostPattern = "^[A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?$";

const host = (description: string) => text({ description, min: 1, max: 253, pattern: hostPattern });

const address = object(
  {
    role: choice(["Broker", "Controller", "Coordinator"], {
      description: "Kind of the process.",
    }),
    id: integer({
      description: "Number of the process in its role.",
      min: 0,
      max: productLimits.brokerIdMax,
    }),
    host: optional(host("Host that clients are told, in place of hostTemplate.")),
    port: optional(port("Port that clients are told, such as one of a proxy.")),
    nodePort: optional(
      port("Port of the nodes; with type NodePort. Kubernetes chooses without it."),
    ),
  },
  {
    description: "The address of one process.",
    rules: [
      {
        rule: "has(self.host) || has(self.port) || has(self.nodePort)",
        message: "an address says nothing: set host, port or nodePort, or take it out",
      },
    ],
  },
);

const cidr = (description: string) =>
  text({ description, min: 3, max: 49, pattern: "^[0-9a-fA-F.:]+/[0-9]{1,3}$" });

const peer = object(
  {
    podSelector: optional(labelSelector("Pods, by their labels.")),
    namespaceSelector: optional(
      labelSelector("In these namespaces, by their labels; in this one without it."),
    ),
    ipBlock: optional(
      object(
        {
          cidr: cidr("Addresses, such as 10.0.0.0/8."),
          except: optional(
            list(cidr("Addresses."), {
              description: "Addresses of these that may not.",
              max: 32,
              merge: "atomic",
            }),
          ),
        },
        { description: "Addresses outside of the cluster." },
      ),
    ),
  },
  {
    description: "Clients that may connect.",
    rules: [
      {
        rule:
          "has(self.ipBlock) ? !has(self.podSelector) && !has(self.namespaceSelector) : " +
          "has(self.podSelector) || has(self.namespaceSelector)",
        message: "a peer is either an ipBlock or selectors: make two peers, or choose one",
      },
    ],
  },
);

const bootstrap = object(
  {
    nodePort: optional(
      port("Port of the nodes; with type NodePort. Kubernetes chooses without it."),
    ),
    host: optional(
      host("Host that the status tells for bootstrapping, such as a name that you keep in DNS."),
    ),
    annotations: optional(annotations("Annotations of the Service for bootstrapping.")),
  },
  {
    description:
      "The one address that clients begin with: a Service over all brokers. What it serves is " +
      "in the Cluster's status.",
  },
);

const external = "self.type != 'Internal'";
const nodePorts = "self.type == 'NodePort'";
const balancers = "self.type == 'LoadBalancer'";
const outside = "is for clients outside: set type to NodePort or LoadBalancer, or leave it out";

const rules: readonly Rule[] = [
  onlyWith("hostTemplate", external, `hostTemplate ${outside}`),
  onlyWith("addresses", external, `addresses ${outside}`),
  onlyWith("externalTrafficPolicy", external, `externalTrafficPolicy ${outside}`),
  onlyWith("annotations", external, `annotations ${outside}`),
  onlyWith(
    "nodeAddressType",
    nodePorts,
    "nodeAddressType goes with type NodePort alone: leave it out",
  ),
  onlyWith(
    "loadBalancerClass",
    balancers,
    "loadBalancerClass goes with type LoadBalancer alone: leave it out",
  ),
  onlyWith(
    "loadBalancerSourceRanges",
    balancers,
    "loadBalancerSourceRanges goes with type LoadBalancer alone: leave it out",
  ),
  onlyWith(
    "bootstrap",
    `!has(self.bootstrap.nodePort) || ${nodePorts}`,
    "bootstrap.nodePort goes with type NodePort alone: leave it out",
  ),
  {
    rule: `!has(self.addresses) || ${nodePorts} || self.addresses.all(one, !has(one.nodePort))`,
    message: "addresses[].nodePort goes with type NodePort alone: leave it out",
    fieldPath: ".addresses",
  },
];

const hostTemplate = text({
  description:
    "Host that clients are told for each process, instead of the node's or the load balancer's " +
    "address: {role} stands for broker, controller or coordinator, {id} for its number, such as " +
    "{role}-{id}.events.example.com. The names must be in DNS; the operator does not make them.",
  min: 1,
  max: 253,
  pattern: "^[-A-Za-z0-9.{}]+$",
  rules: [
    {
      rule: "self.contains('{role}') && self.contains('{id}')",
      message:
        "hostTemplate gives every process the same name: write {role} and {id} where they belong",
    },
  ],
});

/** Ports that the processes use for something else. */
const ownPorts = [7401, 7402, 7480];

const listener = object(
  {
    name: text({
      description: "Name of the listener, for ports and for the status.",
      min: 1,
      max: 15,
      pattern: "^[a-z]([-a-z0-9]*[a-z0-9])?$",
    }),
    type: choice(["Internal", "NodePort", "LoadBalancer"], {
      description:
        "Who reaches it. Internal: clients in the Kubernetes cluster, by the names of pods. " +
        "NodePort: clients that reach the nodes, each process by a port of its own. LoadBalancer: " +
        "each process by a load balancer of its own. Clients are told one address, those within " +
        "the Kubernetes cluster too.",
      default: "Internal",
    }),
    port: integer({
      description:
        "Port of the pods and Services, without TLS. A change restarts the processes one after " +
        "the other.",
      min: 1024,
      max: 65_535,
      default: 7400,
      rules: [
        {
          rule: `!(self in [${ownPorts.join(", ")}])`,
          message: `ports ${ownPorts.join(", ")} are used by the processes themselves: use another`,
        },
      ],
    }),
    hostTemplate: optional(hostTemplate),
    nodeAddressType: optional(
      choice(["InternalIP", "ExternalIP", "InternalDNS", "ExternalDNS", "Hostname"], {
        description:
          "Address of a node that clients are told; with type NodePort. InternalIP without it.",
      }),
    ),
    addresses: optional(
      list(address, {
        description: "Addresses of single processes that differ from the rule.",
        max: 256,
        merge: ["role", "id"],
      }),
    ),
    bootstrap: optional(bootstrap),
    annotations: optional(annotations("Annotations of the Services of the processes.")),
    externalTrafficPolicy: optional(
      choice(["Cluster", "Local"], {
        description:
          "Local: nodes pass connections to pods of their own alone, and pods see the client's " +
          "address. Cluster, as without it: any node does, and limits of one address count a node.",
      }),
    ),
    loadBalancerClass: optional(
      text({
        description: "Which load balancers; the default ones without it.",
        min: 1,
        max: 317,
      }),
    ),
    loadBalancerSourceRanges: optional(
      list(cidr("Addresses, such as 203.0.113.0/24."), {
        description: "Addresses that load balancers let through; all without it.",
        max: 64,
        merge: "set",
      }),
    ),
    networkPolicyPeers: optional(
      list(peer, {
        description:
          "Clients that a NetworkPolicy lets through to this listener; all without it. Ports " +
          "between the cluster's own processes are closed to others in any case.",
        max: 32,
        merge: "atomic",
      }),
    ),
  },
  { description: "A listener for clients.", rules },
);

/** A process has one listener for clients today; more are a larger `max`. */
export const listeners = list(listener, {
  description:
    "Where clients connect: to brokers, controllers and group coordinators alike. There is one " +
    "listener. TLS and authentication will be fields of it.",
  min: 1,
  max: 1,
  merge: ["name"],
  default: [{ name: "clients" }],
});
