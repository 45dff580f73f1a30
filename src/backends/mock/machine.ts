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

export const start: (
  shape: MachineShape,
  guest: MockGuest,
  able: ReadonlySet<Capability>,
  from: SavedMachine | undefined
) => Effect.Effect<Started, never, Scope.Scope> = Effect.fnUntraced(function* (shape, guest, able, from) {
  const console = new MemoryConsole()
  if (guest.console !== undefined) console.append(guest.console)
  const exited = Deferred.makeUnsafe<MachineExit>()
  const running = Latch.makeUnsafe(true)
  let isRunning = true
  const booted = Deferred.makeUnsafe<void>()
  const commands: Array<string> = []
  const unplugged = new Set<number>()
  let typed = ""
  let lost = Deferred.makeUnsafe<Lost>()

  const loseShell = (reason: string) =>
    Effect.sync(() => {
      Deferred.doneUnsafe(lost, Effect.succeed({ reason }))
      lost = Deferred.makeUnsafe()
    })
  const exit: MockMachine["exit"] = (how = { exitCode: 0 }) =>
    Effect.gen(function* () {
      const consoleTail = yield* console.tail(30)
      Deferred.doneUnsafe(
        exited,
        Effect.succeed({
          exitCode: how.exitCode,
          signal: how.signal,
          cause: how.exitCode === 0 ? "power-off" : undefined,
          consoleTail,
          stderr: ""
        })
      )
      console.end()
      yield* loseShell("the machine ended")
    })

  yield* Effect.addFinalizer(() => exit({ signal: "SIGKILL" }))
  yield* Effect.sleep(from === undefined ? (guest.bootTime ?? 0) : 0).pipe(
    Effect.andThen(Deferred.succeed(booted, undefined)),
    Effect.forkScoped({ startImmediately: true })
  )

  const needs = <A, E = never>(capability: Capability, effect: Effect.Effect<A, E>) =>
    able.has(capability) ? effect : Effect.fail(unsupported("mock", capability))
  const answer = answers(guest)
  const shell: Effect.Effect<ShellService, ShellNotReady> = Effect.gen(function* () {
    const notReady = (reason: string) =>
      Effect.flatMap(console.tail(30), (tail) =>
        Effect.fail(new ShellNotReady({ machine: shape.name, reason, waited: bootTimeout, console: tail }))
      )
    yield* Deferred.await(booted).pipe(
      Effect.raceFirst(Effect.andThen(Deferred.await(exited), notReady("the machine ended"))),
      Effect.timeoutOrElse({ duration: bootTimeout, orElse: () => notReady("it did not boot") })
    )
    return shellOf({
      machine: shape.name,
      running,
      commands,
      answer,
      exit,
      lost: Effect.suspend(() => Deferred.await(lost)),
      ended: Effect.suspend(() => Deferred.isDone(exited)),
      reset: loseShell
    })
  })

  const setRunning = (value: boolean) =>
    Effect.suspend(() => {
      isRunning = value
      return value ? running.open : running.close
    })
  const state = runState.make({
    isRunning: Effect.sync(() => isRunning),
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
  const qmp = able.has("qmp") ? guest.control : undefined
  const control: ControlService = {
    qmp,
    closed: qmp?.closed ?? Effect.never,
    resets: qmp === undefined ? undefined : resetsOf(qmp),
    powerdown: needs("powerdown", exit({ exitCode: 0 })),
    reset: needs("reset", shape.allowReboot ? loseShell("the guest rebooted") : exit({ exitCode: 0 })),
    setLink: (vlan, up) =>
      needs(
        "links",
        Effect.sync(() => {
          if (up) unplugged.delete(vlan)
          else unplugged.add(vlan)
        })
      ),
    ...state,
    pause: needs("pause", state.pause),
    resume: needs("pause", state.resume),
    save: (directory) => needs("snapshots", state.save(directory)),
    exclusive: Effect.map(state.exclusive, (exclusive) => ({
      ...exclusive,
      save: (directory) => needs("snapshots", exclusive.save(directory))
    }))
  }
  const hypervisor: Hypervisor = {
    name: shape.name,
    pid: undefined,
    directory: shape.directory,
    shell: Layer.effect(Shell, shell),
    control: Layer.succeed(Control, control),
    console: {
      log: console.log,
      tail: console.tail,
      stream: console.stream,
      write: (text) =>
        needs(
          "consoleInput",
          Effect.sync(() => {
            typed += text
          })
        )
    },
    exited: Deferred.await(exited),
    kill: exit({ signal: "SIGKILL" })
  }
  const machine: MockMachine = {
    shape,
    from,
    commands: Effect.sync(() => [...commands]),
    typed: Effect.sync(() => typed),
    unplugged: Effect.sync(() => new Set(unplugged)),
    emit: (text) => Effect.sync(() => console.append(text)),
    exit,
    loseShell
  }
  return { hypervisor, machine }
})
