/**
 * The report of `--junit-xml`: the results of the tests, with what each has logged.
 *
 * **Example** (A report beside the test's other files)
 *
 * ```ts
 * const program = Junit.reported("out/junit.xml")(Runner.run(tests, options))
 * ```
 *
 * @since 0.1.0
 */
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Effect from "effect/Effect"
import { Reporter, type RunEvent } from "../driver/RunEvent.ts"
import type { TestResult } from "../driver/TestResult.ts"
import * as Disk from "../host/Disk.ts"
import * as JunitReport from "../report/JunitReport.ts"
import { LogUnwritable } from "./XmlLog.ts"

/** The line of an event in the report. */
const lineOf = (event: RunEvent): string | undefined => {
  if (event._tag === "Log") return event.line
  if (event._tag !== "MachineEvent") return undefined
  const { event: of } = event
  if (of._tag === "ConsoleLine") return `${of.machine} # ${of.line}`
  return of._tag === "MachineState" ? `${of.machine}: ${of.state}` : undefined
}

const make = () => {
  const results: Array<TestResult> = []
  const lines = new Map<string, Array<string>>()
  return {
    hear: (event: RunEvent): void => {
      if (event._tag === "TestEnded") results.push(event.result)
      const line = lineOf(event)
      if (line === undefined || event._tag === "ImageProgress" || event._tag === "TestEnded") return
      const before = lines.get(event.test)
      if (before === undefined) lines.set(event.test, [line])
      else before.push(line)
    },
    text: () => JunitReport.render(results, ({ name }) => (lines.get(name) ?? []).join("\n"))
  }
}

/** Writes a report of what an effect runs to a file when it ends, however it ends. Fails before that if the file cannot be written. */
export const reported =
  (file: string) =>
  <A, E, R>(effect: Effect.Effect<A, E, R>) =>
    Effect.gen(function* () {
      const report = make()
      yield* Disk.attempt(
        () => {
          Fs.mkdirSync(Path.dirname(file), { recursive: true })
          Fs.writeFileSync(file, report.text())
        },
        (reason) => new LogUnwritable({ file, reason })
      )
      yield* Effect.addFinalizer(() => Disk.quietly(() => Fs.writeFileSync(file, report.text())))
      return yield* Effect.updateService(
        effect,
        Reporter,
        (others) => (event) =>
          Effect.andThen(
            Effect.sync(() => report.hear(event)),
            others(event)
          )
      )
    }).pipe(Effect.scoped)
