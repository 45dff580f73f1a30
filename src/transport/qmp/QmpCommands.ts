/**
 * The commands of QMP that vmtest uses, with the shapes of their arguments and replies.
 *
 * Any other command goes by its name through `Qmp.execute`. Source of the shapes: QEMU's QAPI schema (`qapi/*.json`).
 *
 * **Example** (Take a screenshot of a guest that runs)
 *
 * ```ts
 * const program = Effect.gen(function* () {
 *   const qmp = yield* Qmp
 *   const { running } = yield* QmpCommands.queryStatus(qmp)
 *   if (running) yield* QmpCommands.screendump(qmp, { filename: "/tmp/web.png", format: "png" })
 * })
 * ```
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type { QmpFailure, QmpService } from "./Qmp.ts"

/** What QEMU calls the states of a guest; more than these may come with a newer QEMU. */
export const RunState = Schema.String

/** The reply to `query-status`. */
export const Status = Schema.Struct({ status: RunState, running: Schema.Boolean })

/** The reply to `query-migrate`, as far as it is of use. */
export const Migration = Schema.Struct({
  status: Schema.optionalKey(Schema.String),
  "error-desc": Schema.optionalKey(Schema.String)
})

/** A key by its name in QEMU's `QKeyCode`: `ctrl`, `alt`, `delete`, `a`, `1`, `ret`. */
export interface KeyValue {
  readonly type: "qcode"
  readonly data: string
}

/** An event for a keyboard or a pointer. */
export type InputEvent =
  | { readonly type: "key"; readonly data: { readonly down: boolean; readonly key: KeyValue } }
  | { readonly type: "btn"; readonly data: { readonly down: boolean; readonly button: string } }
  | { readonly type: "abs" | "rel"; readonly data: { readonly axis: "x" | "y"; readonly value: number } }

type Result<A> = Effect.Effect<A, QmpFailure>

const nothing =
  (command: string) =>
  (qmp: QmpService): Result<void> =>
    Effect.asVoid(qmp.execute(command))

/** Whether the guest runs, and in which state it is. */
export const queryStatus = (qmp: QmpService): Result<typeof Status.Type> =>
  qmp.execute("query-status", undefined, Status)

/** Stops the guest's processors. */
export const stop = nothing("stop")

/** Lets them run again. */
export const cont = nothing("cont")

/** Presses the power button. */
export const systemPowerdown = nothing("system_powerdown")

/** Presses the reset button. */
export const systemReset = nothing("system_reset")

/** Ends QEMU. It may be gone before it answers, which is not a failure. */
export const quit = (qmp: QmpService): Result<void> =>
  Effect.asVoid(qmp.execute("quit")).pipe(Effect.catchTag("TransportError", () => Effect.void))

/** Writes what a display shows into a file of the host; `png` from QEMU 7.1 on. */
export const screendump = (
  qmp: QmpService,
  options: {
    readonly filename: string
    readonly format?: "png" | "ppm" | undefined
    readonly device?: string | undefined
  }
): Result<void> => Effect.asVoid(qmp.execute("screendump", options))

/** Presses keys together and lets them go after `holdTime` milliseconds (100 by default). */
export const sendKey = (qmp: QmpService, keys: ReadonlyArray<string>, holdTime?: number): Result<void> =>
  Effect.asVoid(
    qmp.execute("send-key", {
      keys: keys.map((data): KeyValue => ({ type: "qcode", data })),
      ...(holdTime === undefined ? {} : { "hold-time": holdTime })
    })
  )

/** Feeds events to a keyboard or a pointer, in this order. */
export const inputSendEvent = (qmp: QmpService, events: ReadonlyArray<InputEvent>): Result<void> =>
  Effect.asVoid(qmp.execute("input-send-event", { events }))

/** Plugs the cable of a network card in or out. */
export const setLink = (qmp: QmpService, name: string, up: boolean): Result<void> =>
  Effect.asVoid(qmp.execute("set_link", { name, up }))

/** Adds a device; `properties` are those of its driver. */
export const deviceAdd = (
  qmp: QmpService,
  driver: string,
  id: string,
  properties: Readonly<Record<string, string | number | boolean>> = {}
): Result<void> => Effect.asVoid(qmp.execute("device_add", { driver, id, ...properties }))

/** Asks the guest to let a device go; the event `DEVICE_DELETED` says that it did. */
export const deviceDel = (qmp: QmpService, id: string): Result<void> => Effect.asVoid(qmp.execute("device_del", { id }))

/** Adds the host's end of a network card. */
export const netdevAdd = (
  qmp: QmpService,
  type: string,
  id: string,
  properties: Readonly<Record<string, unknown>> = {}
): Result<void> => Effect.asVoid(qmp.execute("netdev_add", { type, id, ...properties }))

/** Takes it away. */
export const netdevDel = (qmp: QmpService, id: string): Result<void> => Effect.asVoid(qmp.execute("netdev_del", { id }))

/** Sends the guest's state to a URI, `exec:cat > file` say. {@link queryMigrate} or `MIGRATION` events tell how it goes. */
export const migrate = (qmp: QmpService, uri: string): Result<void> => Effect.asVoid(qmp.execute("migrate", { uri }))

/** Loads a state into a QEMU that was started with `-incoming defer`. */
export const migrateIncoming = (qmp: QmpService, uri: string): Result<void> =>
  Effect.asVoid(qmp.execute("migrate-incoming", { uri }))

/** How a migration goes. */
export const queryMigrate = (qmp: QmpService): Result<typeof Migration.Type> =>
  qmp.execute("query-migrate", undefined, Migration)

/** Turns capabilities of migration on or off, `x-ignore-shared` say. */
export const migrateSetCapabilities = (
  qmp: QmpService,
  capabilities: Readonly<Record<string, boolean>>
): Result<void> =>
  Effect.asVoid(
    qmp.execute("migrate-set-capabilities", {
      capabilities: Object.entries(capabilities).map(([capability, state]) => ({ capability, state }))
    })
  )

/** Sets parameters of migration, `max-bandwidth` in bytes a second say. */
export const migrateSetParameters = (qmp: QmpService, parameters: Readonly<Record<string, unknown>>): Result<void> =>
  Effect.asVoid(qmp.execute("migrate-set-parameters", parameters))
