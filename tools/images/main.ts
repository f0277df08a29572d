/** `npm run images`: the image of the server, without an engine that makes images. */
import { mkdirSync } from "node:fs";
import { join, resolve } from "node:path";
import { commandLine } from "../command-line.ts";
import { root } from "../pack/workspace.ts";
import { makeServerImage } from "./server.ts";

const usage = `npm run images [-- --out D]

Makes millrace.tar, an OCI layout with the image of the server, and its bill of materials. Needs
Linux, GNU tar, npm and what it fetches; no engine, no root. The same sources, libraries and Node
make the same digest.

  --out D  a directory; dist/images`;

const { out } = commandLine(usage, { out: { type: "string" } });
const directory = resolve(out ?? join(root, "dist", "images"));
mkdirSync(directory, { recursive: true });
const made = await makeServerImage(join(directory, "millrace.tar"));
console.log(`${made.name} ${made.digest}`);
console.log(`${(made.bytes / 2 ** 20).toFixed(1)} MiB compressed, in ${made.layers.length} layers`);
console.log(made.file);
console.log(made.billOfMaterials);
