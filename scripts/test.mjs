// `npm test [-- what vitest takes]`: set-up, types, format and lint, then every test. The last line is `N passed, N failed`.
import { mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { localEnvironment, main, root, run } from "./lib.mjs"
import { setup } from "./setup.mjs"

const say = (line) => process.stdout.write(`${line}\n`)

/** Runs vitest and gives what the reporter counted; a vitest that died before it counted is one failure. */
const runTests = (env) => {
  const folder = mkdtempSync(join(tmpdir(), "vmtest-counts-"))
  const file = join(folder, "counts.json")
  try {
    const reporter = join(root, "scripts", "vitest-reporter.mjs")
    const asked = process.argv.slice(2)
    const projects = asked.some((arg) => arg.startsWith("--project")) ? [] : ["--project=unit", "--project=integration"]
    const args = ["run", ...projects, "--reporter=default", `--reporter=${reporter}`, ...asked]
    const exitCode = run("vitest", args, { env: { ...env, VMTEST_COUNTS: file } })
    const counts = JSON.parse(readFileSync(file, "utf8"))
    return exitCode !== 0 && counts.failed === 0 ? { ...counts, failed: 1 } : counts
  } catch {
    return { passed: 0, failed: 1, skipped: [] }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

main(() => {
  setup({ test: true, log: say })
  const env = localEnvironment()
  const checks = [
    ["types", "tsc", ["--noEmit"]],
    ["types of the page of reports", "tsc", ["--noEmit", "--project", "web"]],
    ["format and lint", "biome", ["check", "."]]
  ]
  const wrong = checks.filter(([, command, args]) => run(command, args, { env }) !== 0).map(([name]) => name)
  const { failed, passed, skipped } = runTests(env)
  for (const { name, reason } of skipped) say(`skipped: ${name}: ${reason}`)
  for (const name of wrong) say(`failed: ${name} (counted below)`)
  if (passed === 0) say("failed: no test passed")
  say(`${passed} passed, ${failed + wrong.length} failed`)
  return passed > 0 && failed + wrong.length === 0 ? 0 : 1
})
