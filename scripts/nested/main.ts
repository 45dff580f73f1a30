/**
 * `npm run test:nested [-- backend…]`: the backend suite on real hypervisors, inside a guest that has KVM.
 *
 * A hypervisor that this host does not have is a skip that names it. Exits with 1 when a suite failed, and with 2 for a wrong argument.
 */
import { join } from "node:path"
import { parseArgs } from "node:util"
import * as Effect from "effect/Effect"
import * as Outer from "./outer.ts"
import * as Programs from "./programs.ts"
import * as Suites from "./suites.ts"

const say = (text: string): void => console.log(text)

/** A suite that takes longer hangs: all of them take a few minutes each. */
const suiteTimeout = "60 minutes"

const { positionals } = parseArgs({ allowPositionals: true })
const unknown = positionals.filter((name) => !Programs.backends.some((known) => known === name))
if (unknown.length > 0) {
  say(`unknown backend ${unknown.join(", ")}; choose from ${Programs.backends.join(", ")}`)
  process.exit(2)
}
const wanted = Programs.backends.filter((name) => positionals.length === 0 || positionals.includes(name))

const programs: Record<string, string> = {}
const missing = new Map<string, string>()
for (const name of ["firecracker", "cloud-hypervisor"] as const) {
  const found = Programs.find(name)
  if ("missing" in found) missing.set(name, found.missing)
  else {
    programs[name] = found.path
    say(`nested: ${name} ${found.version} (${found.path})`)
  }
}

const results: Array<{
  readonly name: string
  readonly result: "passed" | "failed" | "skipped"
  readonly note: string
}> = []

const program = Effect.gen(function* () {
  const suites = Suites.of(wanted)
  const whyNot = ({ needs }: Suites.Suite) => needs.flatMap((name) => missing.get(name) ?? [])
  for (const suite of suites.filter((one) => whyNot(one).length > 0))
    results.push({ name: suite.name, result: "skipped", note: whyNot(suite).join("; ") })
  const possible = suites.filter((one) => whyNot(one).length === 0)
  if (possible.length === 0) return
  const output = join("vmtest-output", "nested")
  const guest = yield* Outer.start({ programs, output, progress: (text) => say(`nested: ${text}`) })
  const env = Outer.environment(Programs.variables(`${Outer.places.payload}/bin`))
  say(
    `nested: ${(yield* guest.succeed("qemu-system-x86_64 --version | head -1; uname -r")).trim().replace("\n", ", Linux ")}`
  )
  for (const { command, env: own, name } of possible) {
    say(`\n== ${name}`)
    const began = performance.now()
    const { exitCode } = yield* guest.execute(command, {
      timeout: suiteTimeout,
      env: { ...env, ...own },
      stream: ({ bytes }) => Effect.sync(() => process.stdout.write(bytes))
    })
    const note = `${((performance.now() - began) / 1000).toFixed(0)} s`
    results.push({ name, result: exitCode === 0 ? "passed" : "failed", note })
  }
})

const count = (which: string): number => results.filter(({ result }) => result === which).length

await Effect.runPromise(Effect.scoped(program))
say("")
for (const { name, note, result } of results)
  say(`${result}: ${name}${result === "skipped" ? `: ${note}` : ` (${note})`}`)
say(`${count("passed")} passed, ${count("failed")} failed, ${count("skipped")} skipped`)
process.exitCode = count("failed") > 0 ? 1 : 0
