// `npm run bench [-- name…] [--json]`: sets up, then runs every bench/<name>.bench.ts (or the named ones), one after the other.
import { readdirSync } from "node:fs"
import { join } from "node:path"
import { localEnvironment, root, run } from "./lib.mjs"
import { setup } from "./setup.mjs"

setup({ test: false, log: (line) => process.stderr.write(`${line}\n`) })

const args = process.argv.slice(2)
const flags = args.filter((arg) => arg.startsWith("--"))
const wanted = args.filter((arg) => !arg.startsWith("--"))
const all = readdirSync(join(root, "bench"))
  .filter((file) => file.endsWith(".bench.ts"))
  .map((file) => file.slice(0, -".bench.ts".length))
const unknown = wanted.filter((name) => !all.includes(name))
if (unknown.length > 0) {
  process.stderr.write(`no such bench: ${unknown.join(", ")}; there are ${all.join(", ")}\n`)
  process.exit(2)
}
const failed = (wanted.length > 0 ? wanted : all).filter(
  (name) => run("node", [join("bench", `${name}.bench.ts`), ...flags], { env: localEnvironment() }) !== 0
)
if (failed.length > 0) {
  process.stderr.write(`failed: ${failed.join(", ")}\n`)
  process.exit(1)
}
