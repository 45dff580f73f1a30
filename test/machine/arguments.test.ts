import { runInNewContext } from "node:vm"
import { assert, describe, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Driver from "../../src/driver/Driver.ts"
import type { Signature } from "../../src/guest/Arguments.ts"
import { InvalidArgument } from "../../src/guest/MachineError.ts"
import { spawnedParameters } from "../../src/guest/Spawn.ts"
import type { Machine } from "../../src/machine/Machine.ts"
import { driverOf, offline } from "../driver/support.ts"
import { untyped } from "../untyped.ts"
import { parameters } from "./parameters.ts"

/** A value of each JavaScript type; none is an Effect, a symbol or null. */
const samples: Readonly<Record<string, unknown>> = {
  undefined: undefined,
  null: null,
  number: 5,
  fraction: -1.5,
  nan: Number.NaN,
  boolean: true,
  string: "5",
  empty: "",
  array: ["true"],
  function: () => "true",
  effect: Effect.void,
  symbol: Symbol("5"),
  object: { timeuot: 1 }
}

/** Among these is one that every parameter takes. */
const candidates: ReadonlyArray<unknown> = [
  undefined,
  "true",
  "/x",
  "active",
  "a",
  ":0",
  1,
  { x: 1, y: 1 },
  { guestPort: 80 },
  "usb-mouse",
  Schedule.forever,
  Schema.Unknown
]

const rightFor = (schema: Schema.Constraint): unknown => {
  const found = candidates.findIndex((candidate) => Schema.is(schema)(candidate))
  assert.notStrictEqual(found, -1, String(schema.ast))
  return candidates[found]
}

/** The properties of an object that a parameter takes, options or others. */
const fieldsOf = (schema: Schema.Constraint): Schema.Struct.Fields => {
  const inner = "members" in schema ? (schema.members as ReadonlyArray<Schema.Constraint>)[0] : schema
  return inner !== undefined && "fields" in inner ? (inner.fields as Schema.Struct.Fields) : {}
}

const isWrong = (schema: Schema.Constraint) => (value: unknown) => !Schema.is(schema)(value)

/** Calls with one wrong value each. */
const wrongCalls = ({ fields }: Signature): ReadonlyArray<ReadonlyArray<unknown>> => {
  const places = Object.entries(fields).map(([name, schema]) =>
    // Commands are what is left of the arguments.
    name === "commands" ? { schema: Schema.String, right: "true" } : { schema, right: rightFor(schema) }
  )
  return places.flatMap(({ schema }, index) => {
    const call = (value: unknown) => places.map(({ right }, at) => (at === index ? value : right))
    // After commands, a string is one more of them.
    const values = Object.values(samples).filter(
      (value) => !(index > 0 && "commands" in fields && typeof value === "string")
    )
    const outright = values.filter(isWrong(schema)).map(call)
    const inner = fieldsOf(schema)
    const required = Object.fromEntries(
      Object.entries(inner).flatMap(([name, field]) => (Schema.is(field)(undefined) ? [] : [[name, rightFor(field)]]))
    )
    const within = Object.entries({ ...inner, timeuot: Schema.Never }).flatMap(([name, field]) =>
      Object.values(samples)
        .filter(isWrong(field))
        .map((value) => call({ ...required, [name]: value }))
    )
    return [...outright, ...(Object.keys(inner).length === 0 ? [] : within)]
  })
}

type Failing = Effect.Effect<unknown, unknown, Scope.Scope>
type Loose = Readonly<Record<string, (...given: ReadonlyArray<unknown>) => Failing | Stream.Stream<unknown, unknown>>>

const invoke = (methods: object, method: string, given: ReadonlyArray<unknown>): Failing => {
  const made = (methods as Loose)[method]?.(...given)
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
  assert.isTrue(error.message.startsWith(`box.${error.method}: `), error.message)
})

describe("a wrong value is refused before the machine is started", () => {
  for (const [method, signature] of Object.entries(parameters)) {
    // The methods that xDisplay gives refuse for it, as below.
    if (Object.keys(signature.fields).length === 0 || signature.gives === "methods") continue
    it.effect(`by ${method}`, () =>
      Effect.gen(function* () {
        const { box, states } = yield* unstarted
        const calls = wrongCalls(signature)
        // Every parameter refuses null, symbols and Effects at least.
        assert.isAtLeast(calls.length, 3 * Object.keys(signature.fields).length)
        for (const given of calls) yield* refuses(invoke(box, method, given), `${method}(${given.map(String)})`)
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
      const options = runInNewContext('({ timeout: "soon", env: { A: "1" } })')
      assert.include((yield* Effect.flip(box.execute("true", options))).message, "timeout")
    })
  )

  it.effect("by all that an X display can do, when that is none", () =>
    Effect.gen(function* () {
      const { box, states } = yield* unstarted
      const all = box.xDisplay(untyped(0))
      assert.isAtLeast(Object.keys(all).length, 10)
      for (const method of Object.keys(all)) yield* refuses(invoke(all, method, ["x"]), method)
      yield* refuses(box.xDisplay().sendKey(untyped(undefined)), "sendKey")
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

  it.effect("and the message says which method, what it wants and what it got", () =>
    Effect.gen(function* () {
      const { box } = yield* unstarted
      const message = (method: string, ...given: ReadonlyArray<unknown>) =>
        Effect.map(Effect.flip(invoke(box, method, given)), (error) => (error as InvalidArgument).message)
      const options = 'options must be an object of options, such as { timeout: "5 seconds" }, got 5'
      const time = 'such as "5 seconds" or 5000 (milliseconds)'
      for (const [method, given, expected] of [
        ["waitForUnit", ["nginx", { timeuot: 5 }], 'unknown option "timeuot"; did you mean "timeout"?'],
        ["succeed", [], "commands must be at least one command, got []"],
        ["succeed", [undefined], "commands[0] must be a command, a string that is not blank, got undefined"],
        [
          "succeed",
          [["systemctl", "start"]],
          "commands[0] must be a command, a string that is not blank, got [ 'systemctl', 'start' ]"
        ],
        ["waitForFile", ["/x", 5], options],
        ["waitForOpenPort", [80, "localhost", 5], options],
        [
          "waitForOpenPort",
          [80, "web:80"],
          'address must be a host name or an IP address, without a port, got "web:80"'
        ],
        [
          "waitForClosedPort",
          [80, "[::1]"],
          'address must be a host name or an IP address, without a port, got "[::1]"'
        ],
        ["waitForOpenPort", [70000], "port must be a whole number from 1 to 65535, got 70000"],
        ["forwardPort", [80], "ports must be an object { guestPort, hostPort? }, got 80"],
        ["forwardPort", [{ hostPort: 80 }], "ports.guestPort is missing: it must be a whole number from 1 to 65535"],
        ["writeFile", ["/x", "", { mode: 0o644 }], 'mode must be a string as chmod takes it, such as "0644", got 420'],
        [
          "waitForQmpEvent",
          ["STOP"],
          'schema must be a schema, such as Schema.Struct({ event: Schema.Literal("STOP") }), got "STOP"'
        ],
        [
          "sendKey",
          [Effect.void],
          'key must be the name of a key, such as "ret", or a combination, got an Effect; yield* it first'
        ],
        ["sendKey", ["ctrl-retrun"], 'key has the unknown key "retrun"; did you mean "'],
        [
          "sendChars",
          ["é"],
          'text must have only characters of the keyboard layout "us", got "é"; X displays take no others'
        ],
        [
          "sleep",
          [{ minute: 5 }],
          `duration must be a duration of at least zero that ends, ${time}, got { minute: 5 }`
        ],
        [
          "expectScreenshot",
          ["a.png", { masks: [{ x: 1, y: 1, width: 1 }] }],
          "masks[0].height is missing: it must be a number of at least 0"
        ],
        ["fork", [{ identity: "yes" }], 'identity must be true, false or { sshHostKeys }, got "yes"'],
        ["restore", [{}], "snapshot must be a snapshot, or the name of one, got {}"],
        ["mouseClick", [{ x: 1, y: "2" }], 'at.y must be a finite number, got "2"']
      ] as const) {
        const said = yield* message(method, ...given)
        assert.isTrue(said.startsWith(`box.${method}: ${expected}`), `${said}\n${expected}`)
      }
    })
  )

  it.effect("costs much less than a command", () =>
    Effect.gen(function* () {
      const check = parameters.execute
      const given = ["uname -a", { timeout: "5 seconds", user: "root", env: { A: "1" } }]
      for (let turn = 0; turn < 2000; turn++) check.problem(given)
      const started = process.cpuUsage()
      for (let turn = 0; turn < 1000; turn++) check.problem(given)
      // Microseconds each: some three, where a command takes 8000.
      assert.isBelow(process.cpuUsage(started).user / 1000, 50)
    })
  )
})

describe("of a command that was spawned", () => {
  it.effect("a wrong value is refused too", () =>
    Effect.gen(function* () {
      const { machines } = yield* driverOf(
        { box: offline() },
        { guests: { box: { commands: [["cat", { delay: "1 day" }]] } } }
      )
      const cat = yield* (machines.box as Machine).spawn("cat")
      for (const [method, signature] of Object.entries(spawnedParameters)) {
        for (const given of wrongCalls(signature)) yield* refuses(invoke(cat, method, given), method)
      }
      const error = yield* Effect.flip(cat.signal("NOPE" as "TERM"))
      assert.include(error.message, 'box.spawn().signal: signal must be one of "HUP", "INT"')
    })
  )
})

describe("of a driver", () => {
  it.effect("a wrong value is refused, as a defect where the type has no failure for it", () =>
    Effect.gen(function* () {
      const { service } = yield* driverOf({})
      const defect = (effect: Effect.Effect<unknown>) =>
        Effect.map(Effect.flip(Effect.catchDefect(effect, (error) => Effect.fail(error))), (error) => {
          assert.instanceOf(error, InvalidArgument)
          return (error as InvalidArgument).message
        })
      assert.strictEqual(
        yield* defect(service.subtest("x", Effect.void, { softfail: true } as object)),
        'driver.subtest: unknown option "softfail"; did you mean "softFail"?'
      )
      assert.strictEqual(
        yield* defect(service.subtest("x", Effect.void, { softFail: "yes" } as object)),
        'driver.subtest: softFail must be true or false, got "yes"'
      )
      assert.strictEqual(yield* defect(service.log(untyped(5))), "driver.log: line must be a string, got 5")
      const error = yield* Effect.flip(service.joinAll({ timeout: "soon" as "5 seconds" }))
      assert.include(error.message, "driver.joinAll: timeout must be a duration above zero")
      assert.hasAllKeys(
        Driver.parameters,
        Object.keys(service).filter((name) => name !== "machines")
      )
    })
  )
})

describe("the types of the methods", () => {
  it.effect("take what their schemas take", () =>
    Effect.gen(function* () {
      const { machines } = yield* driverOf({ box: offline() }, { guests: { box: { otherwise: { stdout: "x" } } } })
      const box = machines.box as Machine
      const names = ["a", "b"]
      assert.strictEqual(yield* box.succeed(...names.map((name) => `echo ${name}`)), "xx")
      const options = { timeout: Duration.minutes(1), user: undefined }
      assert.strictEqual(yield* box.succeed(...names.map((name) => `echo ${name}`), options), "xx")
      assert.strictEqual(yield* box.succeed("a", "b", "c"), "xxx")
    })
  )
})
