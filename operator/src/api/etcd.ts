/** Where the metadata of a cluster is. */
import { objectName } from "./names.ts";
import { podTemplate, resources } from "./pod-template.ts";
import { fixed } from "./rules.ts";
import { integerChoice, list, object, optional, text } from "./schema.ts";
import { etcdStorage } from "./storage.ts";

/** An image without its tag is the registry's `latest`: pods would differ by the day. */
export const imagePattern = "^[a-z0-9][^ ]*[:@][^ /]+$";

export const image = (description: string) =>
  text({ description, min: 1, max: 512, pattern: imagePattern });

const managed = object(
  {
    replicas: integerChoice([1, 3, 5], {
      description:
        "Members: 1, 3 or 5. One is for trying things: without it nothing changes in the cluster. " +
        "It cannot be changed.",
      default: 3,
    }),
    image: optional(
      image("Image of etcd 3.6 or later, with tag or digest; the operator's choice without it."),
    ),
    storage: etcdStorage,
    resources: optional(resources),
    template: podTemplate,
  },
  {
    description: "An etcd for this cluster alone, run by the operator.",
    rules: [fixed("replicas", "members are not added yet. Restore a backup into a new Cluster")],
  },
);

const tls = object(
  {
    caSecretName: objectName({
      description:
        "Secret with the authorities that may sign etcd's certificates, at ca.crt (PEM).",
    }),
    clientSecretName: optional(
      objectName({
        description: "Secret of type kubernetes.io/tls with the certificate that etcd is shown.",
      }),
    ),
    serverName: optional(
      text({
        description: "Name in etcd's certificates, where it is not the host of the endpoints.",
        min: 1,
        max: 253,
        pattern: "^[^ ]+$",
      }),
    ),
  },
  { description: "TLS to etcd. Secrets are in the same namespace." },
);

const external = object(
  {
    endpoints: list(
      text({
        description: "https://HOST:PORT, or http://HOST:PORT without TLS.",
        min: 1,
        max: 300,
        pattern: "^https?://[^/ ,]+:[0-9]{1,5}$",
      }),
      {
        description: "Members of etcd, all with or all without TLS.",
        min: 1,
        max: 9,
        merge: "set",
      },
    ),
    prefix: text({
      description:
        "What the keys of this cluster in etcd begin with: one for each cluster, which ends with " +
        "a slash. It cannot be changed.",
      min: 2,
      max: 100,
      pattern: "^[!-~]+/$",
      default: "/millrace/",
    }),
    tls: optional(tls),
    credentialsSecretName: optional(
      objectName({
        description: "Secret of type kubernetes.io/basic-auth with the user in etcd.",
      }),
    ),
  },
  {
    description:
      "An etcd that somebody else runs. Never that of Kubernetes itself: the load of one would " +
      "take down the other.",
    rules: [
      fixed("prefix", "the metadata of the cluster is there"),
      {
        rule:
          "self.endpoints.all(one, one.startsWith('https://')) || " +
          "self.endpoints.all(one, one.startsWith('http://'))",
        message: "some endpoints are https and some are http: use one of them for all",
        fieldPath: ".endpoints",
      },
      {
        rule: "!has(self.tls) || self.endpoints.all(one, one.startsWith('https://'))",
        message: "tls is set, and the endpoints are http: write https://, or leave tls out",
        fieldPath: ".tls",
      },
    ],
  },
);

export const etcd = object(
  { managed: optional(managed), external: optional(external) },
  {
    description:
      "The etcd that holds the metadata: one that the operator runs, or an external one. Without " +
      "it, a managed one of three members.",
    rules: [
      {
        rule: "has(self.managed) != has(self.external)",
        message: "etcd is either managed or external: set one of them",
      },
      {
        rule: "has(self.managed) == has(oldSelf.managed)",
        message:
          "etcd cannot be changed from managed to external or back: the metadata would stay " +
          "behind. Make a new Cluster with a backup of etcd",
        reason: "FieldValueForbidden",
      },
    ],
    default: { managed: {} },
  },
);
