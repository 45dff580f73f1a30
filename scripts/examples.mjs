// `npm run examples [-- name…]`: sets up, then runs every example (or the named ones), one after the other, each as a user would.
// The last lines are a table of how each went and how long it took, the building of images included.
import { readdirSync } from "node:fs"
import { join } from "node:path"
import { localEnvironment, main, root, run, Stop } from "./lib.mjs"
import { setup } from "./setup.mjs"

/** An example's name is its path in examples/ without the ending. */
const names = () =>
  ["", "nixos"]
    .flatMap((folder) =>
      readdirSync(join(root, "examples", folder))
        .filter((file) => file.endsWith(".ts"))
        .map((file) => join(folder, file.slice(0, -".ts".length)))
    )
    .concat("app/main")

/** How those that are no scripts of tests are run. */
const others = {
  "app/main": ["node", [join("examples", "app", "main.ts")]],
  layer: ["node", [join("examples", "layer.ts")]],
  "suite.test": ["vitest", ["run", "--project", "integration", join("examples", "suite.test.ts")]]
}

const commandOf = (name) => others[name] ?? ["node", [join("bin", "vmtest.js"), "run", join("examples", `${name}.ts`)]]

const say = (line) => process.stdout.write(`${line}\n`)

main(() => {
  const all = names()
  const wanted = process.argv.slice(2)
  const unknown = wanted.filter((name) => !all.includes(name))
  if (unknown.length > 0) throw new Stop(`unknown example ${unknown.join(", ")}; choose from ${all.join(", ")}`, 2)
  setup({ test: true, log: (line) => process.stderr.write(`${line}\n`) })
  const results = []
  for (const name of wanted.length > 0 ? wanted : all) {
    say(`\n== ${name}`)
    const started = performance.now()
    const [command, args] = commandOf(name)
    const exitCode = run(command, args, { env: localEnvironment() })
    results.push({ name, exitCode, seconds: (performance.now() - started) / 1000 })
    if (exitCode === 130) break
  }
  const widest = Math.max(...results.map(({ name }) => name.length))
  say("")
  for (const { name, exitCode, seconds } of results) {
    say(`${exitCode === 0 ? "✔" : "✘"} ${name.padEnd(widest)} ${seconds.toFixed(1).padStart(7)} s`)
  }
  const failed = results.filter(({ exitCode }) => exitCode !== 0).length
  say(`${results.length - failed} passed, ${failed} failed`)
  if (results.at(-1)?.exitCode === 130) return 130
  return failed === 0 ? 0 : 1
})
