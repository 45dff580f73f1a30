/**
 * `npm run test:nested [-- backend…] [--host]`: the backend suite on real hypervisors, inside a guest that has KVM, or with `--host` on this host.
 * `npm run bench:backends [-- backend…] [--host]`: their figures instead, as a table.
 *
 * A hypervisor that this host does not have is a skip that names it. Exits with 1 when a suite failed, and with 2 for a wrong argument.
 */
import { parseArgs } from "node:util"
import * as Effect from "effect/Effect"
import * as Figures from "./figures.ts"
import * as Places from "./places.ts"
import * as Programs from "./programs.ts"
import * as Suites from "./suites.ts"

const say = (text: string): void => console.log(text)
const progress = (text: string): void => say(`nested: ${text}`)

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: { bench: { type: "boolean", default: false }, host: { type: "boolean", default: false } }
})
const unknown = positionals.filter((name) => !Programs.backends.some((known) => known === name))
if (unknown.length > 0) {
  say(`unknown backend ${unknown.join(", ")}; choose from ${Programs.backends.join(", ")}`)
  process.exit(2)
}
const wanted = Programs.backends.filter((name) => positionals.length === 0 || positionals.includes(name))

const programs: Record<string, string> = {}
const missing = new Map<string, string>()
for (const name of ["firecracker", "jailer", "cloud-hypervisor"] as const) {
  const found = Programs.find(name)
  if ("missing" in found) missing.set(name, found.missing)
  else {
    programs[name] = found.path
    progress(`${name} ${found.version} (${found.path})`)
  }
}

interface Result {
  readonly name: string
  readonly result: "passed" | "failed" | "skipped"
  readonly note: string
}

const whyNot = (needs: Suites.Suite["needs"]): ReadonlyArray<string> => needs.flatMap((name) => missing.get(name) ?? [])

const program = Effect.gen(function* () {
  const runner = values.host ? Places.host(programs) : yield* Places.guest(programs, progress)
  const results: Array<Result> = []
  let output = ""
  const outside = Places.host(programs)
  const suites = (values.bench ? Suites.benches : Suites.of)(wanted, runner.place).map((suite) => ({ suite, runner }))
  if (values.bench && !values.host) suites.push({ suite: Suites.benchOutside(outside.place), runner: outside })
  for (const { runner, suite } of suites) {
    const { name, needs } = suite
    const reasons = whyNot(needs)
    if (reasons.length > 0) {
      results.push({ name, result: "skipped", note: reasons.join("; ") })
      continue
    }
    say(`\n== ${name}`)
    const began = performance.now()
    const done = yield* runner.run(suite)
    output += done.output
    const note = `${((performance.now() - began) / 1000).toFixed(0)} s`
    results.push({ name, result: done.exitCode === 0 ? "passed" : "failed", note })
  }
  return { results, output }
})

const { output, results } = await Effect.runPromise(Effect.scoped(program))
say("")
if (values.bench) {
  const figures = Figures.parse(output)
  say(
    `${Figures.table(figures)}\n\nIn parentheses: vmtest's own processor time in it, as a part of the time that it took.`
  )
  for (const line of Figures.tooMuch(figures)) say(`more than 5 %: ${line}`)
  say("On a host with KVM, as root: npm run bench:backends -- --host\n")
}
for (const { name, note, result } of results)
  say(`${result}: ${name}${result === "skipped" ? `: ${note}` : ` (${note})`}`)
const count = (which: Result["result"]): number => results.filter(({ result }) => result === which).length
say(`${count("passed")} passed, ${count("failed")} failed, ${count("skipped")} skipped`)
process.exitCode = count("failed") > 0 ? 1 : 0
