import { runInNewContext } from "node:vm"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { InvalidArgument } from "../../src/guest/MachineError.ts"
import type { Machine } from "../../src/machine/Machine.ts"
import { driverOf, offline } from "../driver/support.ts"

/** A value of each JavaScript type, that no method can mean. */
const samples: Readonly<Record<string, unknown>> = {
  undefined: undefined,
  null: null,
  number: 5,
  boolean: true,
  string: "5",
  array: ["true"],
  function: () => "true",
  effect: Effect.void,
  symbol: Symbol("5"),
  object: {}
}

/** A place of a call: a value that is right there, and the types that may be. */
interface Place {
  readonly right: unknown
  readonly types: ReadonlyArray<string>
  /** What options, or another object, may have in it. */
  readonly fields?: Readonly<Record<string, ReadonlyArray<string>>>
}

const a = (right: unknown, ...types: ReadonlyArray<string>): Place => ({ right, types })
const text = a("x", "string")
const command = a("true", "string")
const pattern = a("x", "string")
const number = a(1, "number")
const name = a("x", "string", "undefined")
/** `timeuot` is an option of none of them. */
const options = (fields: Place["fields"] = {}): Place => ({
  right: {},
  types: ["undefined", "object"],
  fields: { ...fields, timeuot: ["undefined"] }
})

/** What a time is not was said before: `times.test.ts`. Here, that it is not silently none. */
const time = Object.keys(samples).filter((type) => type !== "null")
const some = (...types: ReadonlyArray<string>) => [...types, "undefined"]
const waits = { timeout: time }
const polls = { ...waits, schedule: some() }
const guestPolls = { ...waits, interval: time }
const user = { user: some("string") }
const running = { ...waits, ...user, cwd: some("string"), env: some("object"), stdin: some("string") }
const runs = { ...running, stream: some("function") }
const reader = { reader: some("string") }
const click = { button: some("string"), count: some("number") }
const point: Place = { right: { x: 1, y: 1 }, types: [], fields: { x: ["number"], y: ["number"] } }
const picture = { ...polls, threshold: some("number"), tolerance: some("number") }
const display = { display: some("string") }

type MethodsOf<A> = { [Key in keyof A]: A[Key] extends (...args: never) => unknown ? Key : never }[keyof A]
type Name = MethodsOf<Machine>

/** Every method that takes anything, and what: the compiler says when one is missing. */
const methods: Readonly<Record<Exclude<Name, keyof typeof bare>, ReadonlyArray<Place>>> = {
  shutdown: [options(waits)],
  reboot: [options(waits)],
  switchRoot: [options(waits)],
  waitForShutdown: [options(waits)],
  execute: [command, options(runs)],
  executeBytes: [command, options(runs)],
  executeStream: [command, options(running)],
  succeed: [command, a("true", "string", "object", "undefined")],
  fail: [command, a("true", "string", "object", "undefined")],
  waitUntilSucceeds: [command, options({ ...running, schedule: some() })],
  waitUntilFails: [command, options({ ...running, schedule: some() })],
  sleep: [a(5, "number")],
  spawn: [command, options({ ...running, detached: some("boolean") })],
  systemctl: [text, options(user)],
  waitForUnit: [text, options({ ...waits, ...user })],
  getUnitInfo: [text, options(user)],
  getUnitProperty: [text, text, options(user)],
  requireUnitState: [text, a("active", "undefined"), options(user)],
  startJob: [text, options(user)],
  stopJob: [text, options(user)],
  journal: [options({ unit: some("string"), ...user, lines: some("number"), follow: some("boolean") })],
  waitForFile: [text, options(guestPolls)],
  waitUntilFileIsGone: [text, options(guestPolls)],
  readFile: [text],
  readFileBytes: [text],
  writeFile: [text, text, options({ mode: some("string") })],
  copyFromHost: [text, text],
  copyFromMachine: [text, name],
  waitForOpenPort: [number, a("localhost", "string", "undefined", "object"), options(guestPolls)],
  waitForClosedPort: [number, a("localhost", "string", "undefined", "object"), options(guestPolls)],
  waitForOpenUnixSocket: [a("/x"), options({ ...guestPolls, type: some("string") })],
  waitForConsoleText: [pattern, options(waits)],
  sendConsole: [text],
  screenshot: [name],
  getScreenText: [options(reader)],
  getScreenTextVariants: [options(reader)],
  waitForText: [pattern, options({ ...polls, ...reader })],
  findText: [pattern, options(reader)],
  expectScreenshot: [text, options(picture)],
  waitForImage: [text, options(picture)],
  recordVideo: [name, options({ format: some("string"), framesPerSecond: some("number") })],
  sendKey: [text, options({ delay: time })],
  sendChars: [text, options({ delay: time })],
  mouseMove: [point],
  mouseClick: [point, options(click)],
  mouseDrag: [point, point, options({ button: some("string") })],
  clickText: [pattern, options({ ...polls, ...reader, ...click })],
  waitForX: [options({ ...guestPolls, ...display })],
  getWindowNames: [options(display)],
  waitForWindow: [pattern, options({ ...polls, ...display })],
  getTtyText: [number],
  waitUntilTtyMatches: [number, pattern, options(guestPolls)],
  dumpTtyContents: [number, name],
  qmp: [text, a({}, "object", "undefined"), a(Schema.Unknown, "undefined")],
  waitForQmpEvent: [a(Schema.Unknown), options(waits)],
  sendMonitorCommand: [text],
  block: [a(undefined, "undefined")],
  unblock: [a(undefined, "undefined")],
  forwardPort: [number, a(0, "number", "undefined")],
  snapshot: [name],
  restore: [text],
  fork: [options({ name: some("string"), from: some("string"), identity: some("boolean", "object") })]
}

const bare = {
  start: true,
  crash: true,
  isUp: true,
  pause: true,
  resume: true,
  getConsoleLog: true,
  shellInteract: true,
  consoleInteract: true,
  // Its result refuses, as below.
  xDisplay: true
} as const satisfies { readonly [Key in Name]?: true }

/** Calls with one value of a wrong type each. */
const wrongCalls = (places: ReadonlyArray<Place>): ReadonlyArray<ReadonlyArray<unknown>> =>
  places.flatMap(({ fields = {}, right, types }, index) => {
    const call = (value: unknown) => places.map((place, at) => (at === index ? value : place.right))
    const outright = Object.keys(samples).filter((type) => !types.includes(type))
    const within = Object.entries(fields).flatMap(([field, fits]) =>
      Object.keys(samples)
        .filter((type) => !fits.includes(type))
        .map((type) => call({ ...(right as object), [field]: samples[type] }))
    )
    return [...outright.map((type) => call(samples[type])), ...within]
  })

type Failing = Effect.Effect<unknown, unknown, Scope.Scope>
type Loose = Readonly<Record<string, (...given: ReadonlyArray<unknown>) => Failing | Stream.Stream<unknown, unknown>>>

const invoke = (machine: object, method: string, given: ReadonlyArray<unknown>): Failing => {
  const made = (machine as Loose)[method]?.(...given)
  return Stream.isStream(made) ? Stream.runDrain(made) : (made as Failing)
}

const unstarted = Effect.map(driverOf({ box: offline({ allowReboot: true }) }), ({ machines, states }) => ({
  box: machines.box as Machine,
  states
}))

const refuses = Effect.fnUntraced(function* (effect: Failing, what: string) {
  const error = yield* Effect.flip(Effect.timeoutOrElse(effect, { duration: "1 second", orElse: () => Effect.void }))
  assert(error instanceof InvalidArgument, `${what}: ${String(error)}`)
  assert.strictEqual(error.machine, "box", what)
})

describe("a value of a wrong type is refused before the machine is started", () => {
  for (const [method, places] of Object.entries(methods)) {
    it.effect(`by ${method}`, () =>
      Effect.gen(function* () {
        const { box, states } = yield* unstarted
        const calls = wrongCalls(places)
        assert.isNotEmpty(calls)
        for (const given of calls) yield* refuses(invoke(box, method, given), given.map(String).join(", "))
        assert.isFalse(yield* box.isUp())
        assert.deepStrictEqual(states("box"), [])
      })
    )
  }

  it.effect("and one of a right type of another realm, such as that of a prompt, is not", () =>
    Effect.gen(function* () {
      const { box } = yield* unstarted
      const error = yield* Effect.flip(
        box.waitForConsoleText(runInNewContext("/never/"), { timeout: "soon" as "5 seconds" })
      )
      assert.include(error.message, "timeout")
      const bytes = yield* Effect.flip(box.execute("cat", { stdin: runInNewContext("new Uint8Array(1)"), timeout: -1 }))
      assert.include(bytes.message, "timeout")
    })
  )

  it.effect("by all that an X display can do, when that is none", () =>
    Effect.gen(function* () {
      const { box, states } = yield* unstarted
      const all = box.xDisplay(0 as unknown as string)
      assert.isAtLeast(Object.keys(all).length, 10)
      for (const method of Object.keys(all)) yield* refuses(invoke(all, method, ["x"]), method)
      yield* refuses(box.xDisplay().sendKey(undefined as unknown as string), "sendKey")
      assert.deepStrictEqual(states("box"), [])
    })
  )

  it.effect("by succeed and fail that have nothing to run, or options that are not last", () =>
    Effect.gen(function* () {
      const { box, states } = yield* unstarted
      const calls = [
        [],
        [{}],
        ["", {}],
        [" \n"],
        [{}, "true"],
        ["true", {}, "true"],
        ["true", "", "true"],
        [["true"], {}]
      ]
      for (const method of ["succeed", "fail"]) {
        for (const given of calls) yield* refuses(invoke(box, method, given), `${method}(${JSON.stringify(given)})`)
      }
      assert.deepStrictEqual(states("box"), [])
    })
  )

  it.effect("and told what is wanted", () =>
    Effect.gen(function* () {
      const { box } = yield* unstarted
      const message = (method: string, ...given: ReadonlyArray<unknown>) =>
        Effect.map(Effect.flip(invoke(box, method, given)), (error) => (error as InvalidArgument).message)
      assert.deepStrictEqual(
        yield* Effect.all([
          message("succeed"),
          message("succeed", ["systemctl", "start"]),
          message("waitForFile", "/x", 5),
          message("waitForOpenPort", 80, "localhost", 5),
          message("writeFile", "/x", "", { mode: 0o644 }),
          message("waitForQmpEvent", "STOP"),
          message("sendKey", Effect.void),
          message("sleep", { minute: 5 })
        ]),
        [
          'box: command "undefined" is undefined; a command, as a string, is wanted',
          'box: command "[systemctl, start]" is an array; a command, as a string, is wanted',
          'box: options 5 is a number; an object of options, such as { timeout: "5 seconds" }, is wanted',
          'box: options 5 is a number; an object of options, such as { timeout: "5 seconds" }, is wanted',
          'box: mode 420 is a number; a string as chmod takes it, such as "0644", is wanted',
          'box: schema "STOP" is a string; a schema, such as Schema.Struct({ event: Schema.Literal("STOP") }), is wanted',
          'box: key "Success(undefined)" is an Effect, to be yielded first; a string is wanted',
          'box: duration "[object Object]" is an object; a time, such as "5 seconds", is wanted'
        ]
      )
    })
  )
})

describe("of a command that was spawned", () => {
  it.effect("a value of a wrong type is refused too", () =>
    Effect.gen(function* () {
      const { machines } = yield* driverOf(
        { box: offline() },
        { guests: { box: { commands: [["cat", { delay: "1 day" }]] } } }
      )
      const cat = yield* (machines.box as Machine).spawn("cat")
      for (const wrong of [undefined, 5, ["x"], {}, null]) yield* refuses(invoke(cat, "write", [wrong]), "write")
      for (const wrong of [5, ["TERM"], {}, null]) yield* refuses(invoke(cat, "signal", [wrong]), "signal")
      for (const wrong of [5, "5 seconds", ["x"], null]) yield* refuses(invoke(cat, "wait", [wrong]), "wait")
    })
  )
})
