import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as Control from "../../src/machine/Control.ts"
import { QmpError, type QmpService } from "../../src/transport/qmp/Qmp.ts"
import { controlOf, guestOn, hostShell } from "./support.ts"

const refusal = new QmpError({ machine: "box", command: "nonsense", class: "CommandNotFound", desc: "no such" })

const control: QmpService = {
  machine: "box",
  version: "9.0.0",
  execute: () => Effect.fail(refusal),
  events: Stream.empty,
  waitForEvent: () => Effect.fail(refusal),
  hmp: () => Effect.fail(refusal),
  closed: Effect.never
}

describe("what QEMU refuses", () => {
  it.live("fails at once, and does not put the shell in doubt", () =>
    Effect.gen(function* () {
      let doubts = 0
      const { guest } = yield* guestOn(hostShell("bash"), {
        control: Effect.succeed(controlOf(control)),
        shellLost: Effect.sync(() => void doubts++)
      })
      const methods = Control.make(guest)
      assert.strictEqual(yield* Effect.flip(methods.qmp("nonsense")), refusal)
      assert.strictEqual(yield* Effect.flip(methods.sendMonitorCommand("nonsense")), refusal)
      assert.strictEqual(doubts, 0)
    })
  )
})

describe("waiting for a QMP event", () => {
  it.live("ends in time with what the console said, and refuses a timeout that is none", () =>
    Effect.gen(function* () {
      const silent: QmpService = { ...control, waitForEvent: () => Effect.never }
      const { guest } = yield* guestOn(hostShell("bash"), {
        control: Effect.succeed(controlOf(silent))
      })
      const { waitForQmpEvent } = Control.make(guest)
      const late = yield* Effect.flip(waitForQmpEvent(Schema.Unknown, { timeout: "20 millis" }))
      assert.deepInclude(late, { _tag: "WaitTimeout", machine: "box", console: "the last line of the console" })
      for (const timeout of ["soon" as "1 second", "-1 seconds" as const, Number.NaN]) {
        const refused = yield* Effect.flip(waitForQmpEvent(Schema.Unknown, { timeout }))
        assert.deepInclude(refused, { _tag: "InvalidArgument", argument: "timeout", machine: "box" })
      }
    })
  )

  it.live("says which was awaited, and which came meanwhile", () =>
    Effect.gen(function* () {
      const event = (name: string, data: unknown = {}) => ({ event: name, data, timestamp: 0 })
      const events = Stream.make(event("RESUME"), event("STOP", { by: "me" }), event("RESUME"))
      const waiting = (schema: Schema.Decoder<unknown>, came: QmpService["events"]) =>
        Effect.gen(function* () {
          const busy: QmpService = { ...control, events: came, waitForEvent: () => Effect.never }
          const { guest } = yield* guestOn(hostShell("bash"), {
            control: Effect.succeed(controlOf(busy))
          })
          return (yield* Effect.flip(Control.make(guest).waitForQmpEvent(schema, { timeout: "20 millis" }))).message
        })
      const Stopped = Schema.Struct({ event: Schema.Literal("STOP"), data: Schema.Struct({ reason: Schema.String }) })
      const message = yield* waiting(Stopped, events)
      assert.match(message, /^box: waited \S+ for the QMP event STOP/)
      assert.match(message, /STOP with {"by":"me"}, which does not match the schema/)
      assert.match(message, /RESUME, 2 times/)
      const either = Schema.Union([Stopped, Schema.Struct({ event: Schema.Literals(["SHUTDOWN", "RESET"]) })])
      const none = yield* waiting(either, Stream.empty)
      assert.match(none, /for the QMP event STOP or SHUTDOWN or RESET; last seen: /)
      assert.match(none, /last seen: no QMP event/)
      assert.match(yield* waiting(Schema.Unknown, Stream.empty), /for a QMP event; last seen: no QMP event/)
    })
  )
})
