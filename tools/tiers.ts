/** Which command runs which test files. A tidy test compares this with the files that there are. */
import { globSync } from "node:fs";

/** Patterns from the root, by the script of package.json. */
export const tiers = {
  /** What needs nothing but Node. */
  test: {
    include: ["packages", "services", "operator", "test", "tools", "bench"].map(
      (top) => `${top}/**/*.test.ts`,
    ),
    exclude: [
      ...["test/etcd/**", "test/k8s/**", "test/packs/**"],
      ...["test/languages/**", "test/conformance/**"],
    ],
  },
  /** What needs a real etcd. */
  "test:etcd": { include: ["test/etcd/**/*.test.ts"], exclude: [] },
  /** What needs a real API server of Kubernetes. */
  "test:k8s": { include: ["test/k8s/**/*.test.ts"], exclude: [] },
  /** What needs other runtimes, from npm. */
  "test:packs": { include: ["test/packs/**/*.test.ts"], exclude: [] },
  /** What needs tools of other languages: Python, Go, protoc. */
  "test:languages": {
    include: ["test/languages/**/*.test.ts", "test/conformance/**/*.test.ts"],
    exclude: [],
  },
} as const;

export type Tier = keyof typeof tiers;

/** Installed, built and kept files are no sources. */
const foreign = ["**/node_modules/**", "**/dist/**", "**/.cache/**"];

/** The test files of a tier, from the root. */
export const filesOf = (root: string, tier: Tier): string[] => {
  const { include, exclude } = tiers[tier];
  return globSync([...include], { cwd: root, exclude: [...exclude, ...foreign] }).sort();
};

/** Every test file of the repository, from the root. */
export const allTestFiles = (root: string): string[] =>
  globSync("**/*.test.{ts,mts,js,mjs}", { cwd: root, exclude: foreign }).sort();
