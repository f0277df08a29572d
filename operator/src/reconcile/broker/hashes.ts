/** What the pod of a broker is made from, in short. Pure. */

export interface Hashes {
  readonly podTemplateHash: string;
  readonly configHash: string;
}

export const hasHashes = (hashes: Partial<Hashes> | undefined, wanted: Hashes): boolean =>
  hashes?.podTemplateHash === wanted.podTemplateHash && hashes.configHash === wanted.configHash;
