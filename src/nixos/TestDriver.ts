/**
 * `nixos-test-driver`: runs the test of a NixOS configuration in the place of the driver of nixpkgs.
 *
 * **Example** (The exit code of a test)
 *
 * ```ts
 * const code = TestDriver.run(invocation)
 * ```
 *
 * @since 0.1.0
 */
import * as NodePath from "node:path"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as ExitCode from "../cli/ExitCode.ts"
import * as Host from "../cli/Host.ts"
import * as Interrupted from "../cli/Interrupted.ts"
import * as Run from "../cli/Run.ts"
import { complain, logToStderr, print, type Work } from "../cli/Subcommand.ts"
import { Reporter, type RunEvent } from "../driver/RunEvent.ts"
import { StatePlaces } from "../driver/StatePlaces.ts"
import type { TestResult } from "../driver/TestResult.ts"
import { TimeLimit } from "../driver/TimeLimit.ts"
import type { ScriptSetting } from "../python/Setting.ts"
import * as TerminalReport from "../report/TerminalReport.ts"
import * as Breakpoint from "./Breakpoint.ts"
import type { Invocation, LogLevel } from "./CommandLine.ts"
import * as Configuration from "./Configuration.ts"
import * as Junit from "./Junit.ts"
import * as MachinePrompt from "./MachinePrompt.ts"
import * as State from "./State.ts"
import * as TestScript from "./TestScript.ts"
import * as Vsock from "./Vsock.ts"
import * as XmlLog from "./XmlLog.ts"

/** What the terminal shows: consoles and commands by default, as there. */
const shownAt = (level: LogLevel) => ({ verbose: level === "info" || level === "debug", quiet: level === "error" })

/** Where the lines of prompts are remembered, as there. */
const historyFile = () => NodePath.resolve(".nixos-test-history")

/** What the script has turned on and off. */
interface Switches {
  consoles: boolean
}

/** The events that reports are given. */
const isReported = (event: RunEvent, { consoles }: Switches, interactive: boolean): boolean => {
  if (event._tag === "MachineEvent" && event.event._tag === "ConsoleLine") return consoles
  // A prompt is not reported as a test.
  return (
    !interactive || (event._tag !== "TestStarted" && (event._tag !== "TestEnded" || event.result.failure !== undefined))
  )
}

const settingOf = Effect.fnUntraced(function* (
  { debugHook, interactive }: Invocation,
  { globalTimeout, machines, sshBackdoor, vlans }: Configuration.Configuration,
  switches: Switches
) {
  const setting: ScriptSetting = {
    ...{ debugHook, globalTimeout, vlans },
    prompt: interactive ? { history: historyFile() } : undefined,
    vsocks: sshBackdoor ? yield* Vsock.make(machines.map(({ name }) => name)) : undefined,
    showConsoles: (shown) =>
      Effect.sync(() => {
        switches.consoles = shown
      })
  }
  return setting
})

/** How to reach the machines, as it is printed before anything starts: by their sockets, else by their numbers. */
const backdoors = Effect.fnUntraced(function* (
  { vsocks }: ScriptSetting,
  { machines }: Configuration.Configuration,
  offset: number | undefined
) {
  const names = machines.map(({ name }) => name).toSorted()
  const width = Math.max(0, ...names.map((name) => name.length))
  const line = (name: string, command: string) => `    ${name}:${" ".repeat(width - name.length + 2)}${command}`
  const bySocket = names.flatMap((name) => {
    const pair = vsocks?.[name]
    return pair === undefined ? [] : [line(name, pair.command)]
  })
  if (bySocket.length > 0) return ["SSH backdoors:", ...bySocket].join("\n")
  if (vsocks !== undefined || offset === undefined || names.length === 0) return undefined
  const commandOf = yield* Vsock.commandByNumber
  return ["SSH backdoors:", ...names.map((name, index) => line(name, commandOf(offset + index + 1)))].join("\n")
})

/** The tests of a script, or what takes their place. */
const testsOf = Effect.fnUntraced(function* (
  { debugHook, interactive, language: said }: Invocation,
  configuration: Configuration.Configuration,
  setting: ScriptSetting
) {
  const language = TestScript.languageOf(configuration.script, said)
  const tests = yield* TestScript.load(configuration, language, setting)
  // Scripts in Python have both by their setting.
  if (language === "python") return tests
  if (interactive) return tests.slice(0, 1).map((test) => MachinePrompt.insteadOf(test, historyFile()))
  return debugHook === undefined ? tests : tests.map((test) => Breakpoint.atFailure(test, debugHook))
})

/** No other command runs such a script again. */
const withoutFile = (result: TestResult): TestResult => ({ ...result, file: undefined })

/** Runs what was asked for, with a state folder that is there. */
const perform = Effect.fnUntraced(function* (invocation: Invocation, configuration: Configuration.Configuration) {
  const { interactive, output } = invocation
  const switches: Switches = { consoles: true }
  const setting = yield* settingOf(invocation, configuration, switches)
  const tests = yield* testsOf(invocation, configuration, setting)
  const folders = yield* State.prepare(
    configuration.machines.map(({ name }) => name),
    invocation.keepState
  )
  const reach = yield* backdoors(setting, configuration, invocation.vsocks)
  if (reach !== undefined) yield* complain(reach)
  const shown = shownAt(invocation.logLevel)
  const options = { keepState: false, output, snapshot: false, ...shown }
  const limit = configuration.globalTimeout
  const results: ReadonlyArray<TestResult> = yield* Host.runTestsIn(tests, { jobs: 1, options }).pipe(
    Effect.provideService(StatePlaces, folders),
    Effect.updateService(
      Reporter,
      (report) => (event) => (isReported(event, switches, interactive) ? report(event) : Effect.void)
    ),
    // One test has the limit as its timeout.
    tests.length > 1 && limit !== undefined
      ? Effect.provideService(TimeLimit, Duration.seconds(limit))
      : (same) => same,
    Interrupted.summedUp(tests.length, (ended, left) =>
      interactive ? Effect.void : print(TerminalReport.summary(ended.map(withoutFile), left))
    )
  )
  if (!interactive) yield* print(TerminalReport.summary(results.map(withoutFile)))
  return results.every(({ status }) => status === "passed") ? ExitCode.passed : ExitCode.failed
})

/** Runs the test. An error that keeps it from running is printed; the exit code is 1 then. */
export const run = (invocation: Invocation): Work =>
  Effect.gen(function* () {
    const { junitXml, logFile, logLevel, output, source } = invocation
    const configuration = yield* Configuration.usable(source)
    const work = Effect.scoped(perform(invocation, configuration))
    // Files that cannot be written fail it before anything starts.
    const reported = junitXml === undefined ? work : Junit.reported(junitXml)(work)
    const logged = logFile === undefined ? reported : XmlLog.logged(logFile)(reported)
    return yield* logged.pipe(
      Effect.provide(TerminalReport.layer(shownAt(logLevel))),
      Host.withState({ keepState: false, output, snapshot: false, ...shownAt(logLevel) })
    )
  }).pipe(
    Effect.catch((error) => Effect.as(complain(Run.described(error)), ExitCode.failed)),
    Effect.provide(logToStderr)
  )
