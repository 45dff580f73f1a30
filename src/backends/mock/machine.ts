/** One scripted guest: the hypervisor that the house sees, and the strings that the test pulls. */
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import { Shell, type ShellService } from "../../transport/Shell.ts"
import { ShellNotReady } from "../../transport/ShellError.ts"
import {
  type Capability,
  Control,
  type ControlService,
  type Hypervisor,
  type MachineExit,
  type MachineShape,
  type SavedMachine
} from "../Backend.ts"
import { SaveFailed, unsupported } from "../BackendError.ts"
import { resetsOf } from "../internal/resets.ts"
import * as runState from "../internal/runState.ts"
import { MemoryConsole } from "./console.ts"
import type { MockGuest, MockMachine } from "./Mock.ts"
import { answers, type Lost, shellOf } from "./shell.ts"
import * as mockSnapshot from "./snapshot.ts"

const bootTimeout = Duration.minutes(5)

interface Started {
  readonly hypervisor: Hypervisor
  readonly machine: MockMachine
}

/** What the parts of one scripted guest share. */
const makeState = (shape: MachineShape, guest: MockGuest, able: ReadonlySet<Capability>) => ({
  shape,
  guest,
  able,
  console: new MemoryConsole(),
  booted: Deferred.makeUnsafe<void>(),
  exited: Deferred.makeUnsafe<MachineExit>(),
  running: Latch.makeUnsafe(true),
  isRunning: true,
  commands: [] as Array<string>,
  unplugged: new Set<string>(),
  typed: "",
  /** what ends the shell's commands; a new one for each loss */
  lost: Deferred.makeUnsafe<Lost>()
})
type State = ReturnType<typeof makeState>

const loseShell = (state: State, reason: string) =>
  Effect.sync(() => {
    Deferred.doneUnsafe(state.lost, Effect.succeed({ reason }))
    state.lost = Deferred.makeUnsafe()
  })

const exit = (state: State, how: Parameters<MockMachine["exit"]>[0] = { exitCode: 0 }) =>
  Effect.gen(function* () {
    const consoleTail = yield* state.console.tail(30)
    Deferred.doneUnsafe(
      state.exited,
      Effect.succeed({
        exitCode: how.exitCode,
        signal: how.signal,
        cause: how.exitCode === 0 ? "power-off" : undefined,
        consoleTail,
        stderr: ""
      })
    )
    state.console.end()
    yield* loseShell(state, "the machine ended")
  })

const needs = <A, E = never>({ able }: State, capability: Capability, effect: Effect.Effect<A, E>) =>
  able.has(capability) ? effect : Effect.fail(unsupported("mock", capability))

/** The shell, once the guest has booted. */
const shell = (state: State): Effect.Effect<ShellService, ShellNotReady> => {
  const { booted, commands, console, exited, guest, running, shape } = state
  const notReady = (reason: string) =>
    Effect.flatMap(console.tail(30), (tail) =>
      Effect.fail(new ShellNotReady({ machine: shape.name, reason, waited: bootTimeout, console: tail }))
    )
  const answer = answers(guest)
  return Effect.gen(function* () {
    yield* Deferred.await(booted).pipe(
      Effect.raceFirst(Effect.andThen(Deferred.await(exited), notReady("the machine ended"))),
      Effect.timeoutOrElse({ duration: bootTimeout, orElse: () => notReady("it did not boot") })
    )
    return shellOf({
      machine: shape.name,
      running,
      commands,
      answer,
      exit: (how) => exit(state, how),
      lost: Effect.suspend(() => Deferred.await(state.lost)),
      ended: Effect.suspend(() => Deferred.isDone(exited)),
      reset: (reason) => loseShell(state, reason)
    })
  })
}

const runStateOf = (state: State) => {
  const { guest, running, shape } = state
  const setRunning = (value: boolean) =>
    Effect.suspend(() => {
      state.isRunning = value
      return value ? running.open : running.close
    })
  return runState.make({
    isRunning: Effect.sync(() => state.isRunning),
    stop: setRunning(false),
    resume: setRunning(true),
    // As with QEMU, a guest that was saved is stopped until it is resumed.
    save: (directory) =>
      Effect.sleep(guest.saveTime ?? 0).pipe(
        Effect.andThen(guest.saveError === undefined ? mockSnapshot.save(shape, directory) : guest.saveError),
        Effect.ensuring(running.close)
      ),
    notSaved: ({ message }, directory) => new SaveFailed({ machine: shape.name, directory, reason: message })
  })
}

const controlOf = (state: State): ControlService => {
  const { able, guest, shape, unplugged } = state
  const runs = runStateOf(state)
  const qmp = able.has("qmp") ? guest.control : undefined
  return {
    qmp,
    closed: qmp?.closed ?? Effect.never,
    resets: qmp === undefined ? undefined : resetsOf(qmp),
    powerdown: needs(state, "powerdown", exit(state)),
    reset: needs(state, "reset", shape.allowReboot ? loseShell(state, "the guest rebooted") : exit(state)),
    plug: () => Effect.fail(unsupported("mock", "hotplug")),
    unplug: () => Effect.fail(unsupported("mock", "hotplug")),
    setLink: (device, up) =>
      needs(
        state,
        "links",
        Effect.sync(() => {
          if (up) unplugged.delete(device)
          else unplugged.add(device)
        })
      ),
    ...runs,
    pause: needs(state, "pause", runs.pause),
    resume: needs(state, "pause", runs.resume),
    save: (directory) => needs(state, "snapshots", runs.save(directory)),
    exclusive: Effect.map(runs.exclusive, (exclusive) => ({
      ...exclusive,
      save: (directory) => needs(state, "snapshots", exclusive.save(directory))
    }))
  }
}

const hypervisorOf = (state: State): Hypervisor => {
  const { console, exited, shape } = state
  return {
    name: shape.name,
    pid: undefined,
    directory: shape.directory,
    shell: Layer.effect(Shell, shell(state)),
    control: Layer.succeed(Control, controlOf(state)),
    console: {
      log: console.log,
      tail: console.tail,
      stream: console.stream,
      write: (text) =>
        needs(
          state,
          "consoleInput",
          Effect.sync(() => {
            state.typed += text
          })
        )
    },
    exited: Deferred.await(exited),
    kill: exit(state, { signal: "SIGKILL" })
  }
}

export const start: (
  shape: MachineShape,
  guest: MockGuest,
  able: ReadonlySet<Capability>,
  from: SavedMachine | undefined
) => Effect.Effect<Started, never, Scope.Scope> = Effect.fnUntraced(function* (shape, guest, able, from) {
  const state = makeState(shape, guest, able)
  const { booted, commands, console, unplugged } = state
  if (guest.console !== undefined) console.append(guest.console)
  yield* Effect.addFinalizer(() => exit(state, { signal: "SIGKILL" }))
  yield* Effect.sleep(from === undefined ? (guest.bootTime ?? 0) : 0).pipe(
    Effect.andThen(Deferred.succeed(booted, undefined)),
    Effect.forkScoped({ startImmediately: true })
  )
  const machine: MockMachine = {
    shape,
    from,
    commands: Effect.sync(() => [...commands]),
    typed: Effect.sync(() => state.typed),
    unplugged: Effect.sync(() => new Set(unplugged)),
    emit: (text) => Effect.sync(() => console.append(text)),
    exit: (how) => exit(state, how),
    loseShell: (reason) => loseShell(state, reason)
  }
  return { hypervisor: hypervisorOf(state), machine }
})
