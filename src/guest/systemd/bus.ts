/**
 * A connection to a guest's service manager that stays open, so that a question starts no process in the guest.
 *
 * `systemd-stdio-bridge`, a part of systemd, connects the manager's private D-Bus socket to a command's input and output. On that socket the
 * manager reports each change of each unit, and the guest needs no message bus.
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { ShellService } from "../../transport/Shell.ts"
import type { ShellError } from "../../transport/ShellError.ts"
import { type Call, Decoder, encodeCall, type Message, type Value } from "./dbus.ts"

/** The guest has no bridge; `systemctl` may work. */
export class NoBridge extends Schema.TaggedError<NoBridge>()("NoBridge", { reason: Schema.String }) {}

/** The connection ended, for example by `systemctl daemon-reexec`; a new one can be opened. */
export class BusClosed extends Schema.TaggedError<BusClosed>()("BusClosed", { reason: Schema.String }) {}

/** The manager answered with an error; `name` is D-Bus's name of it. */
export class BusRefused extends Schema.TaggedError<BusRefused>()("BusRefused", {
  name: Schema.String,
  reason: Schema.String
}) {}

/** A connection to one manager. */
export interface SystemdBus {
  /** Makes calls without waiting between them, and returns their results. */
  readonly call: (
    ...calls: ReadonlyArray<Call>
  ) => Effect.Effect<ReadonlyArray<ReadonlyArray<Value>>, BusRefused | BusClosed | ShellError>
  /** Receives each signal from now on, until the scope closes. The listener runs synchronously and must not throw. */
  readonly listen: (listener: (signal: Message) => void) => Effect.Effect<void, never, Scope.Scope>
  /** Fails when the connection ends. */
  readonly closed: Effect.Effect<never, BusClosed | ShellError>
}

/** Exit codes of {@link script}. */
const noBridge = 90
const noManager = 91

/** Seconds between two looks for the socket of a user's manager, which may start later than the wait. */
const socketInterval = 0.05

/** Connects to the private socket of a manager; waits for a user's. */
const script = (user: string | undefined) => `command -v systemd-stdio-bridge >/dev/null || exit ${noBridge}
${
  user === undefined
    ? `s=/run/systemd/private\n[ -S $s ] || exit ${noManager}`
    : `s=/run/user/$(id -u)/systemd/private\nuntil [ -S "$s" ]; do sleep ${socketInterval}; done`
}
exec systemd-stdio-bridge -p "unix:path=$s"`

/** D-Bus's authentication: the bridge already has the rights of its user. */
const hello = "\0AUTH ANONYMOUS 30\r\nBEGIN\r\n"

/** Connects to the manager of the system, or to that of a user, and waits until it runs. */
export const open = Effect.fnUntraced(function* (
  shell: ShellService,
  user: string | undefined
): Effect.fn.Return<SystemdBus, NoBridge | ShellError, Scope.Scope> {
  const bridge = yield* shell.spawn(script(user), user === undefined ? {} : { user })
  const closed = Deferred.makeUnsafe<never, BusClosed | ShellError>()
  const opened = Deferred.makeUnsafe<void>()
  const calls = new Map<number, Deferred.Deferred<ReadonlyArray<Value>, BusRefused | BusClosed | ShellError>>()
  const listeners = new Set<(signal: Message) => void>()
  const decoder = new Decoder()
  let greeting: Buffer | undefined = Buffer.alloc(0)
  let serial = 0

  const take = (message: Message) => {
    if (message.type === "signal") {
      for (const listener of listeners) listener(message)
      return
    }
    const caller = calls.get(message.replySerial ?? 0)
    if (caller === undefined) return
    calls.delete(message.replySerial ?? 0)
    Deferred.doneUnsafe(
      caller,
      message.type === "return"
        ? Exit.succeed(message.body)
        : Exit.fail(new BusRefused({ name: message.errorName, reason: String(message.body[0] ?? "") }))
    )
  }

  /** The first line answers the authentication; messages follow. */
  const feed = (bytes: Uint8Array) => {
    if (greeting === undefined) {
      for (const message of decoder.push(bytes)) take(message)
      return
    }
    greeting = Buffer.concat([greeting, bytes])
    const end = greeting.indexOf("\r\n")
    if (end === -1) return
    const rest = greeting.subarray(end + 2)
    if (!greeting.toString("latin1", 0, end).startsWith("OK ")) return
    greeting = undefined
    Deferred.doneUnsafe(opened, Exit.void)
    for (const message of decoder.push(rest)) take(message)
  }

  const end = (error: BusClosed | ShellError) => {
    Deferred.doneUnsafe(closed, Exit.fail(error))
    for (const caller of calls.values()) Deferred.doneUnsafe(caller, Exit.fail(error))
    calls.clear()
  }
  yield* Effect.addFinalizer(() => Effect.sync(() => end(new BusClosed({ reason: "it is no longer needed" }))))

  yield* Stream.runForEach(bridge.stdout, (bytes) => Effect.sync(() => feed(bytes))).pipe(
    Effect.catchDefect((defect) => new BusClosed({ reason: String(defect) })),
    Effect.andThen(bridge.wait),
    Effect.flatMap((exitCode) => new BusClosed({ reason: `the bridge ended with ${exitCode}` })),
    Effect.catch((error) => Effect.sync(() => end(error))),
    Effect.forkScoped
  )
  yield* bridge.write(hello)

  const refused = Effect.flatMap(bridge.wait, (exitCode) => {
    if (exitCode === noManager) return new NoBridge({ reason: "systemd is not running" })
    return new NoBridge({
      reason: exitCode === noBridge ? "systemd-stdio-bridge is missing" : `the bridge ended with ${exitCode}`
    })
  })
  yield* Effect.raceFirst(Deferred.await(opened), refused)

  return {
    closed: Deferred.await(closed),
    listen: (listener) =>
      Effect.asVoid(
        Effect.acquireRelease(
          Effect.sync(() => listeners.add(listener)),
          () => Effect.sync(() => listeners.delete(listener))
        )
      ),
    call: (...made) =>
      Effect.suspend(() => {
        if (Deferred.isDoneUnsafe(closed)) return Deferred.await(closed)
        const sent = made.map((call) => {
          const number = ++serial
          const answer = Deferred.makeUnsafe<ReadonlyArray<Value>, BusRefused | BusClosed | ShellError>()
          calls.set(number, answer)
          return { number, answer, bytes: encodeCall(number, call) }
        })
        return bridge.write(Buffer.concat(sent.map(({ bytes }) => bytes))).pipe(
          Effect.andThen(Effect.forEach(sent, ({ answer }) => Deferred.await(answer))),
          Effect.ensuring(
            Effect.sync(() => {
              for (const { number } of sent) calls.delete(number)
            })
          )
        )
      })
  }
})
