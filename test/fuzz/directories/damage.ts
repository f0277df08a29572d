/**
 * Damage to the files of a data directory: what disks, crashes, and people with a copy command make
 * of them.
 */
import { crcOf } from "@millrace/record";
import type { DiskImage, SeededRandom } from "@millrace/sim";
import { mutate } from "../mutate.ts";

/** A damaged directory, and how much may still be expected of it. */
export interface Damaged {
  readonly image: DiskImage;
  /** What was done, for people. */
  readonly what: readonly string[];
  /** Paths that were touched. */
  readonly paths: ReadonlySet<string>;
  /** Whole pieces came from other files: their CRCs are right where they do not belong. */
  readonly foreign: boolean;
  /** A message was changed and its CRC made right again: no disk does that. */
  readonly sealed: boolean;
}

/** Other valid directories with the same names in them. */
export interface Others {
  readonly any: DiskImage;
  /** The same directory at another time. */
  readonly sameLife: DiskImage;
}

interface Work {
  readonly files: Map<string, Buffer>;
  readonly others: Others;
  readonly dice: SeededRandom;
  foreign: boolean;
  sealed: boolean;
}

type Kind = (work: Work, path: string, content: Buffer) => { what: string; also?: string };

const sector = 512;

/** Kinds of files, so that the many segments do not hide the few others. */
const groups: readonly RegExp[] = [
  ...[/\.log$/, /\.log$/, /\.log$/, /\.index$/, /\.timeindex$/, /\.journal$/, /\.journal$/],
  ...[/leader-epochs$/, /\/producers\./, /\/meta$/, /^meta$/, /^clean$/],
  ...[/^recovery-points$/, /^recovery-points\.copy$/, /./],
];

const pickPath = (files: ReadonlyMap<string, Buffer>, dice: SeededRandom): string => {
  const group = dice.pick(groups);
  const paths = [...files.keys()].filter((path) => group.test(path)).sort();
  return paths.length > 0 ? dice.pick(paths) : dice.pick([...files.keys()].sort());
};

/** Of a journal file mostly where something was written. */
const place = (path: string, content: Buffer, dice: SeededRandom): number => {
  const written = path.endsWith(".journal") && dice.chance(0.9) ? endOfData(content) : 0;
  return dice.below(Math.max(1, written > 0 ? written : content.length));
};

const endOfData = (content: Buffer): number => {
  let end = content.length;
  while (end > 0 && content[end - 1] === 0) end -= 1;
  return end;
};

const flip: Kind = ({ files, dice }, path, content) => {
  const places: number[] = [];
  for (let i = dice.pick([1, 1, 2, 8]); i > 0 && content.length > 0; i -= 1) {
    const at = place(path, content, dice);
    content[at] = (content[at] ?? 0) ^ (1 << dice.below(8));
    places.push(at);
  }
  files.set(path, content);
  return { what: `flip bits of ${path} at ${places.join()}` };
};

const truncate: Kind = ({ files, dice }, path, content) => {
  const size = place(path, content, dice);
  files.set(path, content.subarray(0, size));
  return { what: `cut ${path} at ${size}` };
};

const extend: Kind = ({ files, dice }, path, content) => {
  const bytes = dice.pick([1, 15, 16, 100, 4096]);
  const kind = dice.pick(["zeros", "noise", "itself"] as const);
  const more =
    kind === "itself"
      ? content.subarray(0, bytes)
      : Buffer.from(kind === "zeros" ? Buffer.alloc(bytes) : dice.bytes(bytes));
  files.set(path, Buffer.concat([content, more]));
  return { what: `extend ${path} by ${more.length} bytes of ${kind}` };
};

const zero: Kind = ({ files, dice }, path, content) => {
  const at = Math.floor(place(path, content, dice) / sector) * sector;
  const end = at + sector * dice.pick([1, 1, 8, 64]);
  content.fill(0, at, Math.min(end, content.length));
  files.set(path, content);
  return { what: `zero ${path} from ${at} to ${end}` };
};

const scramble: Kind = ({ files, dice }, path, content) => {
  const at = place(path, content, dice);
  const end = Math.min(content.length, at + dice.pick([4, 64, sector]));
  Buffer.from(mutate(content.subarray(at, end), content, dice)).copy(content, at, 0, end - at);
  files.set(path, content);
  return { what: `scramble ${path} from ${at} to ${end}` };
};

const splice: Kind = (work, path, content) => {
  const { files, dice } = work;
  const from = pickPath(files, dice);
  const donor = files.get(from) ?? content;
  const at = place(path, content, dice);
  const since = place(from, donor, dice);
  files.set(path, Buffer.concat([content.subarray(0, at), donor.subarray(since)]));
  work.foreign = true;
  return { what: `splice ${path} at ${at} with ${from} from ${since}` };
};

/** A write that went to another place of the same file, or came twice. */
const misplace: Kind = (work, path, content) => {
  const { files, dice } = work;
  const from = place(path, content, dice);
  const to = dice.chance(0.5) ? place(path, content, dice) : Math.floor(from / 4096) * 4096;
  const bytes = dice.pick([100, sector, 4096]);
  content.copy(content, to, from, Math.min(content.length, from + bytes));
  files.set(path, content);
  work.foreign = true;
  return { what: `copy ${bytes} bytes of ${path} from ${from} to ${to}` };
};

const swap: Kind = (work, path, content) => {
  const { files, dice } = work;
  const suffix = path.slice(Math.max(path.lastIndexOf("."), path.lastIndexOf("/")));
  const alike = [...files.keys()].filter((one) => one !== path && one.endsWith(suffix)).sort();
  const also = alike.length > 0 && dice.chance(0.8) ? dice.pick(alike) : pickPath(files, dice);
  files.set(path, files.get(also) ?? content);
  files.set(also, content);
  work.foreign = true;
  return { what: `swap ${path} and ${also}`, also };
};

/**
 * The file as another directory has it, all of it right. Nobody can tell that recovery points are
 * another directory's, and recovery rests on them: theirs are of the same directory, and old.
 */
const replace: Kind = (work, path, content) => {
  const { any, sameLife } = work.others;
  const from = path.startsWith("recovery-points") ? sameLife : any;
  work.files.set(path, Buffer.from(from.files.get(path) ?? content));
  work.foreign = true;
  return { what: `replace ${path} by another directory's` };
};

const copyAside: Kind = (work, path, content) => {
  const { files, dice } = work;
  const also = path.replace(/[0-9]{8,20}(?!-)/, (digits) =>
    String(Number(digits) + dice.pick([1, 3, 40])).padStart(digits.length, "0"),
  );
  files.set(also, content);
  work.foreign = true;
  return { what: `copy ${path} to ${also}`, also };
};

const remove: Kind = ({ files }, path) => {
  files.delete(path);
  return { what: `remove ${path}` };
};

/** Changes the message of a side file and makes its CRC right again. */
const seal: Kind = (work, path, content) => {
  const { files, dice } = work;
  if (content.length < 8 || /\.(log|index|timeindex|journal)$/.test(path))
    return flip(work, path, content);
  const message = mutate(content.subarray(8), content, dice);
  const head = Buffer.from(content.subarray(0, 8));
  head.writeUInt32LE(crcOf(message), 4);
  files.set(path, Buffer.concat([head, message]));
  work.sealed = true;
  return { what: `change and seal ${path}: ${message.toString("hex").slice(0, 200)}` };
};

const kinds: readonly Kind[] = [
  ...[flip, flip, flip, truncate, truncate, extend, zero, zero, scramble, splice],
  ...[misplace, swap, replace, copyAside, remove, remove, seal],
];

/** One to three damages to a copy of `image`. */
export const damage = (image: DiskImage, others: Others, dice: SeededRandom): Damaged => {
  const files = new Map([...image.files].map(([path, bytes]) => [path, Buffer.from(bytes)]));
  const work: Work = { files, others, dice, foreign: false, sealed: false };
  const what: string[] = [];
  const paths = new Set<string>();
  for (let i = dice.pick([1, 1, 1, 2, 3]); i > 0; i -= 1) {
    const path = pickPath(files, dice);
    const done = dice.pick(kinds)(work, path, Buffer.from(files.get(path) ?? []));
    what.push(done.what);
    paths.add(path);
    if (done.also !== undefined) paths.add(done.also);
  }
  const { foreign, sealed } = work;
  return { image: { files, directories: image.directories }, what, paths, foreign, sealed };
};
