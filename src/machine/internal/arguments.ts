/**
 * What the arguments of methods may be, by their JavaScript types.
 *
 * A script is not type-checked when it runs, and who comes from Python passes a timeout by place or a list of commands. A value of a wrong type
 * is refused before the method is begun: none is run as nothing, none throws. What a number or a text may be is the method's own to say.
 */
import { isRegExp, isUint8Array } from "node:util/types"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { InvalidArgument } from "../../guest/MachineError.ts"
import type { SpawnedCommand } from "../../guest/Spawn.ts"
import type { Machine } from "../Machine.ts"

interface Problem {
  readonly argument: string
  readonly value: unknown
  readonly reason: string
}

/** What is wrong with a value that was given for an argument. */
type Check = (argument: string, value: unknown) => Problem | undefined

const kindOf = (value: unknown): string => {
  if (value === undefined || value === null) return String(value)
  if (Array.isArray(value)) return "an array"
  if (Effect.isEffect(value)) return "an Effect, to be yielded first"
  return typeof value === "object" ? "an object" : `a ${typeof value}`
}

/** As short as an error can show it. */
const shown = (value: unknown): string | number => {
  if (typeof value === "number" || typeof value === "string") return value
  if (Array.isArray(value)) return `[${value.map(shown).join(", ")}]`.slice(0, 100)
  return typeof value === "function" ? `function ${value.name}`.trim() : String(value)
}

const a =
  (wanted: string, fits: (value: unknown) => boolean): Check =>
  (argument, value) =>
    fits(value) ? undefined : { argument, value, reason: `is ${kindOf(value)}; ${wanted} is wanted` }

const either =
  (wanted: string, ...checks: ReadonlyArray<Check>): Check =>
  (argument, value) =>
    checks.some((check) => check(argument, value) === undefined) ? undefined : a(wanted, () => false)(argument, value)

const optional =
  (check: Check): Check =>
  (argument, value) =>
    value === undefined ? undefined : check(argument, value)

const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === "object" && value !== null && !Array.isArray(value) && !Effect.isEffect(value)

/** An object with these; what else it has is nobody's concern. */
const record =
  (wanted: string, fields: Readonly<Record<string, Check>>): Check =>
  (argument, value) => {
    if (!isRecord(value)) return a(wanted, isRecord)(argument, value)
    for (const [name, check] of Object.entries(fields)) {
      const problem = check(name, value[name])
      if (problem !== undefined) return problem
    }
    return undefined
  }

const isText = (value: unknown) => typeof value === "string"
const text = a("a string", isText)
const number = a("a number", (value) => typeof value === "number")
const boolean = a("true or false", (value) => typeof value === "boolean")
const callback = a("a function", (value) => typeof value === "function")
const units = ["weeks", "days", "hours", "minutes", "seconds", "milliseconds", "microseconds", "nanoseconds"]
/** Which time makes sense is said where it is used, of what Effect takes for one; it takes an object without a unit for no time. */
const time = a(
  'a time, such as "5 seconds",',
  (value) =>
    typeof value !== "object" ||
    Array.isArray(value) ||
    Duration.isDuration(value) ||
    (value !== null && units.some((unit) => unit in value))
)
// Those of the prompt of `vmtest resume` come from a realm of their own.
const pattern = a("a string or a RegExp", (value) => isText(value) || isRegExp(value))
const content = a("a string or a Uint8Array", (value) => isText(value) || isUint8Array(value))
const input = either("a string, a Uint8Array or a Stream", content, a("", Stream.isStream))
const schedule = a('a Schedule, such as Schedule.spaced("1 second"),', Schedule.isSchedule)
const schema = a('a schema, such as Schema.Struct({ event: Schema.Literal("STOP") }),', Schema.isSchema)
const texts = a("an object of strings", (value) => isRecord(value) && Object.values(value).every(isText))
const point = record("a point, { x, y },", { x: number, y: number })
const snapshot = either(
  "a snapshot or the name of one",
  text,
  record("", { name: text, machine: text, saved: a("a saved machine", isRecord) })
)

/** Options are never asked for; what stands in their place was meant for something else, and so was one that there is not. */
const options = (fields: Readonly<Record<string, Check>>, example: string): Check => {
  const names = Object.keys(fields)
  const known = record(
    `an object of options, such as ${example},`,
    Object.fromEntries(Object.entries(fields).map(([name, check]) => [name, optional(check)]))
  )
  return optional((argument, value) => {
    const problem = known(argument, value)
    if (problem !== undefined || !isRecord(value)) return problem
    const [unknown] = Object.keys(value).filter((name) => value[name] !== undefined && !names.includes(name))
    if (unknown === undefined) return undefined
    return { argument: unknown, value: value[unknown], reason: `is no option here; there are ${names.join(", ")}` }
  })
}

const timeout = { timeout: time }
const waiting = '{ timeout: "5 seconds" }'
const waits = options(timeout, waiting)
const user = options({ user: text }, '{ user: "alice" }')
const reader = { reader: text }
const click = { button: text, count: number }
const running = { ...timeout, user: text, cwd: text, env: texts, stdin: input }
const runs = options({ ...running, stream: callback }, waiting)
const retries = options({ ...running, schedule }, waiting)
const polls = { ...timeout, schedule }
const guestPolls = { ...timeout, interval: time }
const waitsInGuest = options(guestPolls, waiting)
const onX = { display: text }
const keys = options({ delay: time }, '{ delay: "50 millis" }')
const likeness = { threshold: number, tolerance: number }
const picture = { ...likeness, masks: a("an array of boxes", Array.isArray) }

/** A command that is blank was meant to be another. */
const command: Check = (argument, value) => {
  if (typeof value !== "string") return a("a command, as a string,", () => false)(argument, value)
  return value.trim() === "" ? { argument, value, reason: "is blank: there is nothing to run" } : undefined
}

/** How a method takes what it is called with. */
type Rule = (given: ReadonlyArray<unknown>) => Problem | undefined

/** One place after the other. */
const takes = (...places: ReadonlyArray<readonly [argument: string, check: Check]>): Rule => {
  return (given) => {
    for (const [index, [argument, check]] of places.entries()) {
      const problem = check(argument, given[index])
      if (problem !== undefined) return problem
    }
    return undefined
  }
}

/** Commands, one at least, and then options perhaps. */
const commands: Rule = (given) => {
  const last = given.length > 1 ? given.at(-1) : undefined
  const [strings, rest] = typeof last === "string" || given.length < 2 ? [given, undefined] : [given.slice(0, -1), last]
  for (const each of strings.length === 0 ? [undefined] : strings) {
    const problem = command("command", each)
    if (problem !== undefined) return problem
  }
  return runs("options", rest)
}

/** An address and options, or one of them. */
const addressAndOptions: Rule = ([port, first, second]) =>
  number("port", port) ??
  (isRecord(first)
    ? waitsInGuest("options", first)
    : (optional(text)("address", first) ?? waitsInGuest("options", second)))

const nothing = takes()
const ofUnit = takes(["unit", text], ["options", user])
const ofFile = takes(["path", text])
const awaitedFile = takes(["path", text], ["options", waitsInGuest])
const retried = takes(["command", command], ["options", retries])
const run = takes(["command", command], ["options", runs])
const awaited = takes(["options", waits])
const read = takes(["options", options(reader, '{ reader: "tesseract" }')])

type MethodsOf<A> = {
  [Key in keyof A]: A[Key] extends (...args: never) => unknown ? Key : never
}[keyof A]

type Rules<A> = Readonly<Record<MethodsOf<A>, Rule>>

/** Every method of a machine: the compiler says when one is missing. */
export const ofMachine: Rules<Machine> = {
  start: nothing,
  shutdown: awaited,
  crash: nothing,
  reboot: awaited,
  switchRoot: awaited,
  waitForShutdown: awaited,
  isUp: nothing,
  pause: nothing,
  resume: nothing,
  execute: run,
  executeBytes: run,
  executeStream: run,
  succeed: commands,
  fail: commands,
  waitUntilSucceeds: retried,
  waitUntilFails: retried,
  sleep: takes(["duration", time]),
  spawn: takes(["command", command], ["options", options({ ...running, detached: boolean }, "{ detached: true }")]),
  systemctl: takes(["query", text], ["options", user]),
  waitForUnit: takes(["unit", text], ["options", options({ ...timeout, user: text }, waiting)]),
  getUnitInfo: ofUnit,
  getUnitProperty: takes(["unit", text], ["property", text], ["options", user]),
  requireUnitState: takes(["unit", text], ["state", optional(text)], ["options", user]),
  startJob: ofUnit,
  stopJob: ofUnit,
  journal: takes(["options", options({ unit: text, user: text, lines: number, follow: boolean }, '{ unit: "sshd" }')]),
  waitForFile: awaitedFile,
  waitUntilFileIsGone: awaitedFile,
  readFile: ofFile,
  readFileBytes: ofFile,
  writeFile: takes(
    ["path", text],
    ["content", content],
    ["options", options({ mode: a('a string as chmod takes it, such as "0644",', isText) }, '{ mode: "0644" }')]
  ),
  copyFromHost: takes(["source", text], ["target", text]),
  copyFromMachine: takes(["source", text], ["folder", optional(text)]),
  waitForOpenPort: addressAndOptions,
  waitForClosedPort: addressAndOptions,
  waitForOpenUnixSocket: takes(["address", text], ["options", options({ ...guestPolls, type: text }, waiting)]),
  getConsoleLog: nothing,
  waitForConsoleText: takes(["pattern", pattern], ["options", waits]),
  sendConsole: takes(["text", text]),
  screenshot: takes(["name", optional(text)]),
  getScreenText: read,
  getScreenTextVariants: read,
  waitForText: takes(["pattern", pattern], ["options", options({ ...polls, ...reader }, waiting)]),
  findText: takes(["pattern", pattern], ["options", options(reader, '{ reader: "tesseract" }')]),
  expectScreenshot: takes(["reference", text], ["options", options({ ...polls, ...picture }, waiting)]),
  waitForImage: takes(["reference", text], ["options", options({ ...polls, ...likeness }, waiting)]),
  recordVideo: takes(
    ["name", optional(text)],
    ["options", options({ format: text, framesPerSecond: number }, '{ format: "apng" }')]
  ),
  sendKey: takes(["key", text], ["options", keys]),
  sendChars: takes(["text", text], ["options", keys]),
  mouseMove: takes(["to", point]),
  mouseClick: takes(["at", point], ["options", options(click, "{ count: 2 }")]),
  mouseDrag: takes(["from", point], ["to", point], ["options", options(click, '{ button: "right" }')]),
  clickText: takes(["pattern", pattern], ["options", options({ ...polls, ...reader, ...click }, waiting)]),
  waitForX: takes(["options", options({ ...guestPolls, ...onX }, waiting)]),
  getWindowNames: takes(["options", options(onX, '{ display: ":0" }')]),
  waitForWindow: takes(["title", pattern], ["options", options({ ...polls, ...onX }, waiting)]),
  xDisplay: takes(["display", optional(text)]),
  getTtyText: takes(["tty", number]),
  waitUntilTtyMatches: takes(["tty", number], ["pattern", pattern], ["options", waitsInGuest]),
  dumpTtyContents: takes(["tty", number], ["name", optional(text)]),
  qmp: takes(
    ["command", text],
    ["args", optional(a("an object of the command's arguments", isRecord))],
    ["schema", optional(schema)]
  ),
  waitForQmpEvent: takes(["schema", schema], ["options", waits]),
  sendMonitorCommand: takes(["line", text]),
  block: takes(["vlan", optional(number)]),
  unblock: takes(["vlan", optional(number)]),
  forwardPort: takes(["guestPort", number], ["hostPort", optional(number)]),
  snapshot: takes(["name", optional(text)]),
  restore: takes(["snapshot", snapshot]),
  fork: takes([
    "options",
    options(
      {
        name: text,
        from: snapshot,
        identity: either("true, false or an object", boolean, record("", { sshHostKeys: optional(boolean) }))
      },
      '{ name: "other" }'
    )
  ]),
  shellInteract: nothing,
  consoleInteract: nothing
}

/** Those of a command that was spawned. */
export const ofSpawned: Rules<SpawnedCommand> = {
  write: takes(["data", content]),
  signal: takes(["signal", optional(text)]),
  wait: awaited
}

const streams: ReadonlySet<string> = new Set<MethodsOf<Machine>>(["executeStream", "journal"])
/** They give methods, which refuse what they were made with. */
const makers: ReadonlySet<string> = new Set<MethodsOf<Machine>>(["xDisplay"])

type Method = (...given: ReadonlyArray<unknown>) => unknown

const refusing = (machine: string, name: string, method: Method, rule: Rule): Method => {
  const refused = (given: ReadonlyArray<unknown>): InvalidArgument | undefined => {
    const problem = rule(given)
    return problem === undefined ? undefined : new InvalidArgument({ ...problem, machine, value: shown(problem.value) })
  }
  if (streams.has(name)) {
    return (...given) =>
      Stream.suspend(() => {
        const error = refused(given)
        return error === undefined ? (method(...given) as Stream.Stream<unknown>) : Stream.fail(error)
      })
  }
  const begun = (given: ReadonlyArray<unknown>) =>
    Effect.suspend(() => refused(given) ?? (method(...given) as Effect.Effect<unknown>))
  return makers.has(name)
    ? (...given) => {
        const error = refused(given)
        return error === undefined ? method(...given) : mapMethods(method() as object, () => () => Effect.fail(error))
      }
    : (...given) => begun(given)
}

const mapMethods = <A extends object>(all: A, change: (name: string, method: Method) => Method): A => ({
  ...all,
  ...Object.fromEntries(
    Object.entries(all).flatMap(([name, method]) =>
      typeof method === "function" ? [[name, change(name, method)]] : []
    )
  )
})

/** Methods that refuse values of a wrong type with an `InvalidArgument`, and begin nothing then. */
export const refuseWrongTypes = <A extends object>(
  machine: string,
  methods: A,
  rules: Readonly<Record<string, Rule>>
): A =>
  mapMethods(methods, (name, method) => {
    const rule = rules[name]
    return rule === undefined ? method : refusing(machine, name, method, rule)
  })
