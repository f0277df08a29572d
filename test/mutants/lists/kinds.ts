import type { Mutant } from "../mutant.ts";

const room = "operator/src/api/";
const refused = [`${room}refused.test.ts`];
const definitions = [`${room}definitions.test.ts`];

const rules: readonly Mutant[] = [
  {
    name: "kinds-partitions-shrink",
    breaks: "Partitions of a Topic are never taken away.",
    file: `${room}topic.ts`,
    replace: [
      [
        '  neverLess("partitions", "partitions are never taken away. Make another topic with fewer"),\n',
        "",
      ],
      ["import { celName, fixed, neverLess } from", "import { celName, fixed } from"],
    ],
    tests: refused,
  },
  {
    name: "kinds-topic-renamed",
    breaks: "A topic keeps its name.",
    file: `${room}topic.ts`,
    replace: [['  fixed("topicName", "make another Topic, and delete this one"),\n', ""]],
    tests: refused,
  },
  {
    name: "kinds-optional-field-taken-away",
    breaks: "A field that cannot be changed cannot be taken away, either.",
    file: `${room}rules.ts`,
    replace: [
      [
        `\`has(\${now}) == has(\${before}) && (!has(\${now}) || \${now} == \${before})\``,
        `\`!has(\${now}) || !has(\${before}) || \${now} == \${before}\``,
      ],
    ],
    tests: refused,
  },
  {
    name: "kinds-volume-shrinks",
    breaks: "The size of volumes is never lowered.",
    file: `${room}rules.ts`,
    replace: [
      [
        `compareTo(quantity(oldSelf.\${name})) >= 0\``,
        `compareTo(quantity(oldSelf.\${name})) >= -1\``,
      ],
    ],
    tests: refused,
  },
  {
    name: "kinds-volume-of-same-size",
    breaks: "An unchanged size is no change.",
    file: `${room}rules.ts`,
    replace: [
      [
        `compareTo(quantity(oldSelf.\${name})) >= 0\``,
        `compareTo(quantity(oldSelf.\${name})) > 0\``,
      ],
    ],
    tests: refused,
  },
  {
    name: "kinds-approval-taken-back",
    breaks: "An approval cannot be taken back.",
    file: `${room}rules.ts`,
    replace: [[`\`!oldSelf.\${name} || self.\${name}\``, `\`!oldSelf.\${name} || true\``]],
    tests: refused,
  },
  {
    name: "kinds-two-stores",
    breaks: "etcd is either managed or external.",
    file: `${room}etcd.ts`,
    replace: [
      ["has(self.managed) != has(self.external)", "has(self.managed) || has(self.external)"],
    ],
    tests: refused,
  },
  {
    name: "kinds-store-changes-sides",
    breaks: "A cluster's metadata does not stay behind in another etcd.",
    file: `${room}etcd.ts`,
    replace: [
      ["has(self.managed) == has(oldSelf.managed)", "has(self.managed) || !has(oldSelf.managed)"],
    ],
    tests: refused,
  },
  {
    name: "kinds-tls-over-http",
    breaks: "TLS to etcd is not set where the endpoints have none.",
    file: `${room}etcd.ts`,
    replace: [
      [
        `"!has(self.tls) || self.endpoints.all(one, one.startsWith('https://'))"`,
        `"!has(self.tls) || self.endpoints.all(one, one.startsWith('http'))"`,
      ],
    ],
    tests: refused,
  },
  {
    name: "kinds-active-broker-decommissioned",
    breaks: "A broker is drained or cordoned before it is decommissioned.",
    file: `${room}broker.ts`,
    replace: [
      ["self != 'Decommissioned' || oldSelf != 'Active'", "self != 'Decommissioned' || true"],
    ],
    tests: refused,
  },
  {
    name: "kinds-journal-default-unknown",
    breaks: "A journal is compared with the product's defaults where one setting is left out.",
    file: `${room}cluster.ts`,
    replace: [[`\${brokerSettings[key].default})\``, `\${brokerSettings[key].min})\``]],
    tests: refused,
  },
  {
    name: "kinds-min-isr-of-all",
    breaks: "min.insync.replicas may be as many as there are replicas.",
    file: `${room}topic.ts`,
    replace: [
      [`\${minInSync} <= self.replicationFactor`, `\${minInSync} < self.replicationFactor`],
    ],
    tests: refused,
  },
  {
    name: "kinds-port-of-http",
    breaks: "A listener takes no port of the processes' own.",
    file: `${room}listeners.ts`,
    replace: [["const ownPorts = [7401, 7402, 7480];", "const ownPorts = [7401, 7402];"]],
    tests: refused,
  },
  {
    name: "kinds-options-of-another-type",
    breaks: "A listener has no options that its type does not read.",
    file: `${room}rules.ts`,
    replace: [
      [
        `rule: \`!has(self.\${name}) || \${condition}\``,
        `rule: \`!has(self.\${name}) || \${condition} || true\``,
      ],
    ],
    tests: refused,
  },
  {
    name: "kinds-long-names",
    breaks: "Names of Clusters leave room for what follows in names of pods.",
    file: `${room}rules.ts`,
    replace: [
      [`size(self.metadata.name) <= \${max} &&`, `size(self.metadata.name) <= \${max + 1} &&`],
    ],
    tests: refused,
  },
];

const bounds: readonly Mutant[] = [
  {
    name: "kinds-one-partition-more",
    breaks: "A Topic has no more partitions than the controller takes.",
    file: `${room}topic.ts`,
    replace: [
      ["max: partitionsMax,\n      default: 1,", "max: partitionsMax + 1,\n      default: 1,"],
    ],
    tests: refused,
  },
  {
    name: "kinds-no-replica-factor",
    breaks: "A topic has at least one replica.",
    file: `${room}topic.ts`,
    replace: [
      [
        "        min: 1,\n        max: replicationFactorMax,",
        "        min: -1,\n        max: replicationFactorMax + 1,",
      ],
    ],
    tests: refused,
  },
  {
    name: "kinds-list-without-bound",
    breaks: "Every list has a bound.",
    file: `${room}schema.ts`,
    replace: [["      maxItems: max,\n", "      ...(max > 500 ? {} : { maxItems: max }),\n"]],
    tests: [...refused, ...definitions],
  },
  {
    name: "kinds-nothing-required",
    breaks: "A field that is neither optional nor defaulted must be there.",
    file: `${room}schema.ts`,
    replace: [
      ['presence === "required" ? name : []', 'presence === "required" && name === "" ? name : []'],
    ],
    tests: definitions,
  },
  {
    name: "kinds-conditions-atomic",
    breaks: "Conditions are told apart by their type.",
    file: `${room}conditions.ts`,
    replace: [['merge: ["type"]', 'merge: "atomic"']],
    tests: definitions,
  },
  {
    name: "kinds-scale-reads-ready",
    breaks: "An autoscaler sees all brokers of a pool, not those that are ready.",
    file: `${room}broker-pool.ts`,
    replace: [
      ['statusReplicasPath: ".status.replicas"', 'statusReplicasPath: ".status.readyReplicas"'],
    ],
    tests: definitions,
  },
];

const defaults: readonly Mutant[] = [
  {
    name: "kinds-topic-deleted-with-its-object",
    breaks: "A topic outlives its object unless the object says else.",
    file: `${room}topic.ts`,
    replace: [['default: "Retain",', 'default: "Delete",']],
    tests: definitions,
  },
  {
    name: "kinds-volume-deleted-unasked",
    breaks: "A volume outlives its broker unless the pool says else.",
    file: `${room}storage.ts`,
    replace: [['default: "Retain",', 'default: "Delete",']],
    tests: definitions,
  },
  {
    name: "kinds-plan-begun-unasked",
    breaks: "A plan waits for approval unless the object says else.",
    file: `${room}rebalance.ts`,
    replace: [['default: "Manual",', 'default: "Auto",']],
    tests: definitions,
  },
  {
    name: "kinds-writes-let-down-unasked",
    breaks: "No partition is without writes for a rollout unless the Cluster allows it.",
    file: `${room}cluster.ts`,
    replace: [['default: "Block",', 'default: "Allow",']],
    tests: definitions,
  },
  {
    name: "kinds-settings-frozen",
    breaks: "A setting that is left out follows the product's default.",
    file: `${room}settings.ts`,
    replace: [
      [
        'return integer({ ...about(unit === undefined ? "" : units[unit]), min, max });',
        'return integer({ ...about(unit === undefined ? "" : units[unit]), min, max, default: min });',
      ],
    ],
    tests: definitions,
  },
];

export const kindMutants: readonly Mutant[] = [...rules, ...bounds, ...defaults];
