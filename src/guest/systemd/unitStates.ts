/** The states of a unit as they change: reported by the service manager if there is a bridge to it, else polled with `systemctl`. */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Queue from "effect/Queue"
import * as RcMap from "effect/RcMap"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { quote } from "../../host/Quote.ts"
import type { ShellService } from "../../transport/Shell.ts"
import type { ShellError } from "../../transport/ShellError.ts"
import type { Unavailable } from "../Guest.ts"
import { defaultInterval, pauseFunction } from "../internal/pause.ts"
import * as SystemdBus from "./bus.ts"
import type { Value } from "./dbus.ts"
import * as UserManager from "./userManager.ts"

/** What only services have; names and values as `systemctl show` prints them. */
export interface ServiceState {
  readonly type: string
  /** The result of its last run: `success`, `exit-code`, … */
  readonly result: string
  /** Whether it stays active after its program has ended. */
  readonly remains: boolean
  /** Whether a signal ended its program. */
  readonly killed: boolean
  /** How often systemd has restarted it by itself, since somebody started it. */
  readonly restarts: number
}

/** The state of a unit: systemd's LoadState, ActiveState and SubState. */
export interface UnitState {
  readonly loadState: string
  readonly activeState: string
  readonly subState: string
  /** A job of this unit is queued or runs. */
  readonly pending: boolean
  /** The manager has no jobs at all, so an inactive unit stays inactive unless something outside starts it. */
  readonly idle: boolean
  /** The boot is over, so no program of the boot will install a unit that does not exist. */
  readonly up: boolean
  /** The guest is shutting down. */
  readonly stopping: boolean
  /** Whether it has been started since the guest booted. */
  readonly started: boolean
  /** Since when it has been active, in microseconds of the guest's monotonic clock; undefined if that is known from a signal alone. */
  readonly activeSince: number | undefined
  /** Undefined for units of other types, and for a service manager that is too old to tell. */
  readonly service: ServiceState | undefined
}

/** The guest does not run systemd, so it has no units. */
export class NoSystemd extends Schema.TaggedError<NoSystemd>()("NoSystemd", {
  machine: Schema.String,
  reason: Schema.String
}) {
  override get message() {
    return `${this.machine}: the guest has no units: ${this.reason}`
  }
}

/** Why the state of a unit is unknown; a `BusRefused` comes from the manager itself. */
export type UnitStateError = Unavailable | ShellError | NoSystemd | UserManager.NoUserManager | SystemdBus.BusRefused

const managerPath = "/org/freedesktop/systemd1"
const managerInterface = "org.freedesktop.systemd1.Manager"
const unitInterface = "org.freedesktop.systemd1.Unit"
const serviceInterface = "org.freedesktop.systemd1.Service"
const propertiesInterface = "org.freedesktop.DBus.Properties"

/** The path of a unit's object: bytes other than letters and digits, and a leading digit, are in hexadecimal. */
export const unitPath = (unit: string): string => {
  const bytes = [...Buffer.from(unit)].map((byte, at) => {
    const character = String.fromCharCode(byte)
    const plain = /[A-Za-z]/.test(character) || (at > 0 && /[0-9]/.test(character))
    return plain ? character : `_${byte.toString(16).padStart(2, "0")}`
  })
  return `${managerPath}/unit/${bytes.join("")}`
}

const suffixes = /\.(service|socket|target|device|mount|automount|swap|timer|path|slice|scope)$/

/** A name without a suffix is a service, as in `systemctl`. */
export const fullName = (unit: string): string => (suffixes.test(unit) ? unit : `${unit}.service`)

const isMap = (value: Value | undefined): value is ReadonlyMap<Value, Value> => value instanceof Map

const property = (path: string, of: string, name: string) => ({
  path,
  interface: propertiesInterface,
  member: "Get",
  args: [of, name]
})

const ofManager = (name: string) => property(managerPath, managerInterface, name)

/** How a program ended, as waitid(2) tells: by itself, by a signal, by a signal with a core dump. */
const killedCodes = ["2", "3"]

const serviceOf = (text: (name: string) => string): ServiceState => ({
  type: text("Type"),
  result: text("Result"),
  remains: /^(true|yes)$/.test(text("RemainAfterExit")),
  killed: killedCodes.includes(text("ExecMainCode")),
  restarts: Number(text("NRestarts"))
})

const serviceProperties = ["Type", "Result", "RemainAfterExit", "ExecMainCode", "NRestarts"]

const lookAtService = (bus: SystemdBus.SystemdBus, unit: string) =>
  bus.call(...serviceProperties.map((name) => property(unitPath(unit), serviceInterface, name))).pipe(
    Effect.map((values) => serviceOf((name) => String(values[serviceProperties.indexOf(name)]?.[0]))),
    // Of a unit that could not be loaded, or by an older systemd.
    Effect.catchTag("BusRefused", () => Effect.succeed(undefined))
  )

/** The SystemState until there has been no job for the first time. */
const comingUp = ["initializing", "starting"]

/** Jobs are read first: a job that ends between the two has changed the unit by then. */
const look = (bus: SystemdBus.SystemdBus, unit: string) =>
  Effect.gen(function* () {
    const asked = bus.call(ofManager("NJobs"), ofManager("SystemState"), {
      path: unitPath(unit),
      interface: propertiesInterface,
      member: "GetAll",
      args: [unitInterface]
    })
    // Sent at once, and answered in this order: what a service has is as new as its state.
    const [[jobs, manager, all], service] = yield* Effect.all(
      [asked, unit.endsWith(".service") ? lookAtService(bus, unit) : Effect.succeed(undefined)],
      { concurrency: 2 }
    )
    const properties = isMap(all?.[0]) ? all[0] : new Map<Value, Value>()
    const text = (name: string) => String(properties.get(name) ?? "unknown")
    const job = properties.get("Job")
    const pending = Array.isArray(job) && job[0] !== 0
    const systemState = String(manager?.[0])
    const state: UnitState = {
      loadState: text("LoadState"),
      activeState: text("ActiveState"),
      subState: text("SubState"),
      pending,
      idle: jobs?.[0] === 0 && !pending,
      up: !comingUp.includes(systemState),
      stopping: systemState === "stopping",
      started: Number(properties.get("InactiveExitTimestampMonotonic") ?? 0) > 0,
      activeSince: Number(properties.get("ActiveEnterTimestampMonotonic") ?? 0),
      service
    }
    return { state, path: unitPath(text("Id")) }
  })

type News =
  | { readonly _tag: "Announced"; readonly activeState: string; readonly subState: string }
  | { readonly _tag: "LookAgain" }

/**
 * The states of a unit as one connection reports them, until that ends.
 *
 * That a unit is active is taken from the signal itself, because somebody waits for it; after any other change the state is read, too, since
 * a signal does not say whether the state will last.
 */
const observe = (bus: SystemdBus.SystemdBus, unit: string) =>
  Stream.callback<UnitState, SystemdBus.BusClosed | SystemdBus.BusRefused | ShellError>((queue) =>
    Effect.gen(function* () {
      const news = yield* Queue.unbounded<News>()
      let known: { readonly state: UnitState; readonly path: string } | undefined
      const lookAgain = () => Queue.offerUnsafe(news, { _tag: "LookAgain" })
      yield* bus.listen((signal) => {
        if (signal.member === "PropertiesChanged") {
          const [of, properties] = signal.body
          if (of !== unitInterface || !isMap(properties)) return
          // Before the first read it is not known under which of its names the unit is reported.
          if (known === undefined) return lookAgain()
          if (signal.path !== known.path) return
          const activeState = properties.get("ActiveState")
          if (activeState !== undefined) {
            Queue.offerUnsafe(news, {
              _tag: "Announced",
              activeState: String(activeState),
              subState: String(properties.get("SubState"))
            })
          }
          if (activeState !== "active") lookAgain()
        } else if (signal.path === managerPath && known?.state.activeState !== "active") {
          // The last job may have ended, or all units may have been reloaded.
          if (signal.member === "JobRemoved" || signal.member === "Reloading") lookAgain()
        }
      })
      const report = Effect.gen(function* () {
        known = yield* look(bus, unit)
        yield* Queue.offer(queue, known.state)
        for (let again = false; !again; ) {
          for (const one of yield* Queue.takeAll(news)) {
            if (one._tag === "LookAgain") again = true
            else {
              const { activeState, subState } = one
              yield* Queue.offer(queue, {
                ...known.state,
                activeState,
                subState,
                activeSince: undefined,
                pending: true,
                idle: false
              })
            }
          }
        }
      })
      yield* Effect.raceFirst(Effect.forever(report, { disableYield: true }), bus.closed).pipe(
        Effect.catch((error) => Queue.fail(queue, error))
      )
    })
  )

/** What is printed of a unit. */
const shown = [
  ...["LoadState", "ActiveState", "SubState", "Job", "InactiveExitTimestampMonotonic", "ActiveEnterTimestampMonotonic"],
  ...serviceProperties
]

/** Prints the state whenever it changes, one line each: for guests without a bridge. */
const pollLoop = (unit: string, user: string | undefined) => {
  const flag = user === undefined ? "" : "--user "
  return `set +eu
${pauseFunction(defaultInterval)}
command -v systemctl >/dev/null || { echo "systemctl is missing" >&2; exit 127; }
${user === undefined ? '[ -d /run/systemd/system ] || { echo "systemd is not running" >&2; exit 127; }' : 'export XDG_RUNTIME_DIR="/run/user/$(id -u)"'}
before=
while :; do
  n=$(systemctl ${flag}show -p NJobs -p SystemState 2>/dev/null)
  s=$(systemctl ${flag}show ${shown.map((name) => `-p ${name}`).join(" ")} -- ${quote(unit)} 2>/dev/null)
  now=$(echo $n $s)
  [ "$now" = "$before" ] || printf '%s\\n' "$now"
  before=$now
  pause
done`
}

const parse = (line: string): UnitState | undefined => {
  const values = new Map(line.split(" ").map((word) => word.split("=") as [string, string]))
  const activeState = values.get("ActiveState")
  if (activeState === undefined) return undefined
  // Depending on its version, systemd prints nothing, an empty value or 0 for no job.
  const pending = !["", "0"].includes(values.get("Job") ?? "")
  return {
    loadState: values.get("LoadState") ?? "unknown",
    activeState,
    subState: values.get("SubState") ?? "unknown",
    pending,
    idle: values.get("NJobs") === "0" && !pending,
    up: !comingUp.includes(values.get("SystemState") ?? ""),
    stopping: values.get("SystemState") === "stopping",
    started: Number(values.get("InactiveExitTimestampMonotonic") ?? 0) > 0,
    activeSince: Number(values.get("ActiveEnterTimestampMonotonic") ?? 0),
    service: values.has("Type") ? serviceOf((name) => values.get(name) ?? "") : undefined
  }
}

const poll = (shell: ShellService, unit: string, user: string | undefined) =>
  Stream.suspend(() => {
    let complaint = ""
    const as = user === undefined ? {} : { user }
    return shell.executeStream(pollLoop(unit, user), { timeout: "Infinity", ...as }).pipe(
      Stream.flatMap((event): Stream.Stream<Uint8Array, NoSystemd> => {
        if (event._tag === "Stdout") return Stream.succeed(event.bytes)
        if (event._tag === "Exit") {
          return Stream.fail(new NoSystemd({ machine: shell.machine, reason: complaint.trim() }))
        }
        complaint += Buffer.from(event.bytes).toString("utf8")
        return Stream.empty
      }),
      Stream.decodeText(),
      Stream.splitLines,
      Stream.map(parse),
      Stream.filter((state) => state !== undefined)
    )
  })

/** When to connect again after systemd closed a connection, as `daemon-reexec` does. Without end: the wait has a deadline. */
const reconnect = Schedule.spaced("50 millis").pipe(
  Schedule.setInputType<{ readonly _tag: string }>(),
  Schedule.while(({ input }) => Effect.succeed(input._tag === "BusClosed"))
)

/** How long an unused connection is kept for the next wait. */
const idleTimeToLive = "1 minute"

/** Units of one guest. */
export interface UnitStates {
  /** The current state of a unit, and each later one; a state may be repeated. The stream never ends by itself. */
  readonly of: (unit: string, user: string | undefined) => Stream.Stream<UnitState, UnitStateError>
}

/** The states of a guest's units. Waits share one connection to a manager, which the first opens and the scope closes. */
export const make = (shell: Effect.Effect<ShellService, Unavailable>, scope: Scope.Scope): UnitStates => {
  type Buses = RcMap.RcMap<string, SystemdBus.SystemdBus, SystemdBus.NoBridge | ShellError | Unavailable>
  let made: Buses | undefined
  const open = (
    user: string
  ): Effect.Effect<SystemdBus.SystemdBus, SystemdBus.NoBridge | ShellError | Unavailable, Scope.Scope> =>
    Effect.gen(function* () {
      const bus = yield* SystemdBus.open(yield* shell, user === "" ? undefined : user)
      // Detached: as a part of the connection it would wait for its own end.
      yield* Effect.forkDetach(Effect.catch(bus.closed, () => forget(user)))
      return bus
    })
  const forget = (user: string) =>
    Effect.suspend(() => (made === undefined ? Effect.void : RcMap.invalidate(made, user)))
  const buses: Effect.Effect<Buses> = Effect.suspend(() => {
    if (made !== undefined) return Effect.succeed(made)
    return RcMap.make({ lookup: open, idleTimeToLive }).pipe(
      Effect.provideService(Scope.Scope, scope),
      Effect.tap((map) => Effect.sync(() => (made = map)))
    )
  })

  const waiting = new Map<string, number>()
  const count = (user: string, change: number) => {
    const left = (waiting.get(user) ?? 0) + change
    waiting.set(user, left)
    return left
  }
  /** The connection, once it is open. Until then it waits in the guest for a manager that may never run, so the last wait that gives up ends it. */
  const connected = (user: string) =>
    Effect.acquireUseRelease(
      Effect.sync(() => count(user, 1)),
      () => Effect.flatMap(buses, (map) => RcMap.get(map, user)),
      (_, exit) =>
        Effect.suspend(() => {
          const left = count(user, -1)
          if (Exit.isSuccess(exit)) return Effect.void
          return left === 0 || !Cause.hasInterrupts(exit.cause) ? forget(user) : Effect.void
        })
    )

  const of = (unit: string, user: string | undefined): Stream.Stream<UnitState, UnitStateError> => {
    const name = fullName(unit)
    // Which of the two ends first is the news: a manager that could not start is not waited for.
    const bus =
      user === undefined
        ? connected("")
        : Effect.raceFirst(
            connected(user),
            UserManager.failure(shell, (manager) => of(manager, undefined), user)
          )
    return Stream.unwrap(Effect.map(bus, (open) => observe(open, name))).pipe(
      Stream.scoped,
      Stream.retry(reconnect),
      Stream.catchTag("BusClosed", () => Stream.die("the retry of connections to systemd ended")),
      Stream.catchTag("NoBridge", () => Stream.unwrap(Effect.map(shell, (service) => poll(service, name, user))))
    )
  }
  return { of }
}
