/** Mutants of `npm run images`. */
import type { Mutant } from "../mutant.ts";

const at = "tools/images/";
const test = (name: string): string[] => [`${at}${name}.test.ts`];

export const toolsImagesMutants: readonly Mutant[] = [
  {
    name: "images-packed-now",
    breaks: "The same files make the same image, whenever they are packed.",
    file: `${at}oci.ts`,
    replace: [['"--mtime=@0", ', ""]],
    tests: test("oci"),
  },
  {
    name: "images-modes-of-the-maker",
    breaks: "The modes of files do not depend on who has made them.",
    file: `${at}oci.ts`,
    replace: [['"u=rwX,go=rX"', '"u=rwX"']],
    tests: test("oci"),
  },
  {
    name: "images-all-of-root",
    breaks: "A part of a layer may belong to another user.",
    file: `${at}oci.ts`,
    replace: [["tarFlags(owner, mode), ...place", 'tarFlags("0:0", mode), ...place']],
    tests: test("oci"),
  },
  {
    name: "images-names-of-what-is-packed",
    breaks: "A configuration names its layers as they were before compression.",
    file: `${at}oci.ts`,
    replace: [["layers.map((one) => one.diffId)", "layers.map((one) => one.digest)"]],
    tests: test("oci"),
  },
  {
    name: "images-one-part-alone",
    breaks: "A layer has all of its parts.",
    file: `${at}oci.ts`,
    replace: [['i === 0 ? "-cf" : "-rf"', '"-cf"']],
    tests: test("oci"),
  },
  {
    name: "images-without-a-library",
    breaks: "A library that is not there is told, and no image is made without it.",
    file: `${at}base.ts`,
    replace: [['line.includes("=> not found")', 'line.startsWith("not found")']],
    tests: test("base"),
  },
  {
    name: "images-without-the-loader",
    breaks: "The loader of programs is in the image.",
    file: `${at}base.ts`,
    replace: [["(?:=> |^\\s*)", "(?:=> )"]],
    tests: test("base"),
  },
  {
    name: "images-bill-with-links",
    breaks: "A workspace stands once in the bill of materials.",
    file: `${at}bill-of-materials.ts`,
    replace: [
      [
        "link === true || rest.version === undefined",
        "link === undefined && rest.version === undefined",
      ],
    ],
    tests: test("bill-of-materials"),
  },
  {
    name: "images-bill-by-paths",
    breaks: "A package inside of another is named by itself.",
    file: `${at}bill-of-materials.ts`,
    replace: [['path.lastIndexOf("node_modules/")', 'path.indexOf("node_modules/")']],
    tests: test("bill-of-materials"),
  },
];
