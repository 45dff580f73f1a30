// `npm run bench [-- name…] [--json]`: sets up, then runs every bench/<name>.bench.ts (or the named ones), one after the other.
import { readdirSync } from "node:fs"
import { join } from "node:path"
import { localEnvironment, main, root, run, Stop } from "./lib.mjs"
import { setup } from "./setup.mjs"

main(() => {
  const args = process.argv.slice(2)
  const flags = args.filter((arg) => arg.startsWith("--"))
  const wanted = args.filter((arg) => !arg.startsWith("--"))
  const all = readdirSync(join(root, "bench"))
    .filter((file) => file.endsWith(".bench.ts"))
    .map((file) => file.slice(0, -".bench.ts".length))
  const unknown = wanted.filter((name) => !all.includes(name))
  if (unknown.length > 0) throw new Stop(`unknown bench ${unknown.join(", ")}; choose from ${all.join(", ")}`, 2)
  setup({ test: false, log: (line) => process.stderr.write(`${line}\n`) })
  const failed = (wanted.length > 0 ? wanted : all).filter(
    (name) => run("node", [join("bench", `${name}.bench.ts`), ...flags], { env: localEnvironment() }) !== 0
  )
  if (failed.length > 0) throw new Stop(`failed: ${failed.join(", ")}`)
})
