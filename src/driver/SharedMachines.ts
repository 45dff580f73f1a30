/**
 * Machines that several tests use without declaring them: each names those it needs.
 *
 * **Example** (Give the tests of a script the machines that they name)
 *
 * ```ts
 * const resolved = SharedMachines.resolve(tests, { web: { image: Image.tiny() } }, { from: "vmtest.config.ts", digest: "1" })
 * ```
 *
 * @since 0.1.0
 */
import * as Digest from "../host/Digest.ts"
import { near } from "../host/Spelling.ts"
import type { MachineOptions } from "../machine/MachineSpec.ts"
import type { TestCase } from "./TestCase.ts"

const missing = (name: string, names: ReadonlyArray<string>, from: string): string => {
  const meant = near(name, names)
  const advice =
    meant !== undefined
      ? `; did you mean ${JSON.stringify(meant)}?`
      : names.length === 0
        ? "; it defines no machines"
        : `; its machines are ${names.join(", ")}`
  return `${from} defines no machine ${JSON.stringify(name)}${advice}`
}

/** Where machines are defined: what messages call it, and the digest of its program, which stored warm-ups depend on. */
export interface Origin {
  readonly from: string
  readonly digest: string
}

/** The tests with the machines that they name; what is wrong with a name is the test's `problem`. */
export const resolve = (
  tests: ReadonlyArray<TestCase>,
  definitions: Readonly<Record<string, MachineOptions>>,
  { digest, from }: Origin
): ReadonlyArray<TestCase> =>
  tests.map((test) => {
    if (test.shared === undefined) return test
    const names = Object.keys(definitions)
    const unknown = test.shared.find((name) => !Object.hasOwn(definitions, name))
    if (unknown !== undefined) return { ...test, problem: test.problem ?? missing(unknown, names, from) }
    const machines = Object.fromEntries(
      test.shared.flatMap((name) => {
        const options = definitions[name]
        return options === undefined ? [] : [[name, options] as const]
      })
    )
    const script = test.script === undefined ? undefined : Digest.of(`${test.script} ${digest}`)
    return { ...test, machines, script, shared: undefined }
  })
