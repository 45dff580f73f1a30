// `npm run proof [-- name…] [--quick]`: sets up, then runs every scripts/proof/<name>.ts (or the named ones), one after the other.
import { readdirSync } from "node:fs"
import { join } from "node:path"
import { localEnvironment, main, root, run, Stop } from "./lib.mjs"
import { setup } from "./setup.mjs"

main(() => {
  setup({ test: true, log: (line) => process.stderr.write(`${line}\n`) })
  const args = process.argv.slice(2)
  const flags = args.filter((arg) => arg.startsWith("--"))
  const wanted = args.filter((arg) => !arg.startsWith("--"))
  const all = readdirSync(join(root, "scripts", "proof"))
    .filter((file) => file.endsWith(".ts"))
    .map((file) => file.slice(0, -".ts".length))
  const unknown = wanted.filter((name) => !all.includes(name))
  if (unknown.length > 0) throw new Stop(`unknown proof ${unknown.join(", ")}; choose from ${all.join(", ")}`, 2)
  const failed = (wanted.length > 0 ? wanted : all).filter(
    (name) => run("node", [join("scripts", "proof", `${name}.ts`), ...flags], { env: localEnvironment() }) !== 0
  )
  if (failed.length > 0) throw new Stop(`failed: ${failed.join(", ")}`)
})
