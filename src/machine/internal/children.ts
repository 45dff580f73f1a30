/** The processes of one boot beside the machine's own: each builds its part, tells the machine's process, and ends when that part is gone. */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Predicate from "effect/Predicate"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as ExitReason from "../../actors/ExitReason.ts"
import * as GenStatem from "../../actors/GenStatem.ts"
import * as Process from "../../actors/Process.ts"
import { Control, connect, openShell, Running } from "../../backends/Backend.ts"
import type { BackendError } from "../../backends/BackendError.ts"
import { MachineEvents } from "../../guest/MachineEvent.ts"
import { lastLines } from "../../host/Evidence.ts"
import { BootProgressListener, Shell } from "../../transport/Shell.ts"
import { rebootedReason } from "../../transport/ShellError.ts"
import type { Environment } from "../MachineTree.ts"
import type { Origin } from "../Origin.ts"
import * as StartChanges from "../StartChanges.ts"
import type { Boot, Why } from "./boot.ts"
import * as BootNote from "./bootNote.ts"
import { earlyScript } from "./identity.ts"
import { ask, type MachineRef } from "./protocol.ts"

/** What the processes of one boot know. */
export interface BootContext {
  readonly ref: MachineRef
  readonly boot: Boot
  readonly environment: Environment
}

/** Ends this process in order: its supervisor does not restart it. */
const stop = Process.exit(ExitReason.shutdown)

/** When a hypervisor ends, its sockets break first: its own process then says why, and ends this one. */
const graceForHypervisor = "500 millis"

/** An image whose kernel is quiet shows nothing of a boot that hangs; a system of the user's own may have no shell for vmtest. */
export const silenceHint = ({ shape }: Environment): { readonly hint: string; readonly silence: string } =>
  shape.image.guest === "script"
    ? {
        hint: "; it must run a root shell on /dev/hvc0, as guests of NixOS tests do",
        silence: "; its console shows nothing"
      }
    : {
        hint: "",
        silence:
          '; its console shows nothing: to see more of the boot, give the image kernelParameters: "loglevel=7 systemd.show_status=1"'
      }

const up = ({ boot, ref }: BootContext, part: Parameters<typeof ask<"up">>[2]["part"]) =>
  Effect.flatMap(Process.self, (pid) => Effect.orDie(ask(ref, "up", { attempt: boot.attempt, pid, part })))

const failed = ({ boot, ref }: BootContext, why: Why) =>
  Effect.andThen(Effect.ignore(ask(ref, "failed", { attempt: boot.attempt, ...why })), stop)

/** A message for an error that begins with the machine's name itself. */
const withoutName = (machine: string, message: string): string =>
  message.startsWith(`${machine}: `) ? message.slice(machine.length + 2) : message

/** What a hypervisor says last is why it ended; the message of its start has the rest in its first line. */
const reasonOf = (machine: string, error: BackendError): string => {
  const said = Predicate.isTagged(error, "LoadFailed") ? lastLines(error.output, 1) : ""
  return `${withoutName(machine, error.message).split("\n")[0] ?? ""}${said === "" ? "" : `: ${said}`}`
}

/** A machine that cannot be resumed from where it should be is started as its origin says. */
const startFrom = (
  context: BootContext,
  origin: Origin
): Effect.Effect<{ readonly hypervisor: Running["Service"]; readonly origin: Origin }, Why, Scope.Scope> =>
  Effect.gen(function* () {
    const { boot, environment, ref } = context
    yield* GenStatem.cast(ref.name, "origin", { attempt: boot.attempt, origin })
    const { from, otherwise } = origin
    const scope = yield* Scope.fork(yield* Effect.scope)
    const { self, spec } = environment
    const shape = yield* StartChanges.apply(environment.shape)
    const { internet, keyboardLayout } = spec
    const identity = earlyScript({ self, all: yield* environment.all, internet, keyboardLayout })
    const started = yield* Effect.exit(
      Scope.provide(environment.backend.start({ ...shape, identity }, from === undefined ? {} : { from }), scope)
    )
    if (Exit.isSuccess(started)) return { hypervisor: started.value, origin }
    yield* Scope.close(scope, Exit.void)
    const error = Cause.findErrorOption(started.cause)
    if (error._tag === "None") return yield* Effect.failCause(started.cause as Cause.Cause<never>)
    const stage = "stage" in error.value ? error.value.stage : undefined
    if (from === undefined) return yield* Effect.fail({ reason: withoutName(spec.name, error.value.message), stage })
    const reason = reasonOf(spec.name, error.value)
    const damaged = Predicate.isTagged(error.value, "LoadFailed") && error.value.damaged
    return yield* otherwise === undefined
      ? Effect.fail({ reason, stage })
      : Effect.flatMap(otherwise({ reason, damaged }), (next) => startFrom(context, next))
  })

/** Owns the hypervisor: while it lives, so does this process, and the other way round. */
export const hypervisor = (context: BootContext) => {
  const { boot, environment, ref } = context
  return Layer.effect(
    Running,
    Effect.gen(function* () {
      const emit = yield* MachineEvents
      const self = yield* Process.self
      const started = yield* startFrom(context, yield* boot.from).pipe(Effect.catch((why) => failed(context, why)))
      const { console, exited } = started.hypervisor
      yield* up(context, { _tag: "hypervisor", ...started })
      yield* console.stream.pipe(
        Stream.splitLines,
        // What the saved machine had printed was told when that one ran. Its last line may continue.
        Stream.drop((console.inherited ?? 1) - 1),
        Stream.runForEach((line) => emit({ _tag: "ConsoleLine", machine: environment.spec.name, line })),
        Effect.forkScoped
      )
      yield* exited.pipe(
        Effect.flatMap((exit) => Effect.ignore(ask(ref, "exited", { attempt: boot.attempt, exit }))),
        Effect.andThen(Process.exit(self, ExitReason.shutdown)),
        Effect.forkScoped({ startImmediately: true })
      )
      return started.hypervisor
    }).pipe(
      // A defect of the backend is news; that this process was told to end is not.
      Effect.tapCause((cause) =>
        Cause.hasDies(cause) && !isExit(cause)
          ? failed(context, { reason: `its hypervisor's process crashed: ${Cause.pretty(cause)}` })
          : Effect.void
      )
    )
  )
}

const isExit = (cause: Cause.Cause<unknown>): boolean => Cause.squash(cause) instanceof ExitReason.ExitDefect

/** Ends a process whose connection broke, to be replaced by its supervisor. */
const crash = (self: Process.Self["Service"], what: string) =>
  Process.exit(self, ExitReason.crashed(Cause.die(new Error(what))))

/** Connects to the hypervisor, and hears from it when the guest resets itself. */
export const control = (context: BootContext) => {
  const { boot, environment, ref } = context
  return Layer.effect(
    Control,
    Effect.gen(function* () {
      const self = yield* Process.self
      const running = yield* ask(ref, "hypervisor", boot.number).pipe(Effect.catch(() => stop))
      const control = yield* connect(running).pipe(
        Effect.catch(({ message }) =>
          failed(context, {
            reason: `could not connect to its control channel: ${withoutName(environment.spec.name, message)}`
          })
        )
      )
      // Listened to before anybody else has it: no reset is missed.
      if (control.resets !== undefined) {
        yield* control.resets.pipe(
          Stream.runForEach(() => GenStatem.cast(ref.name, "reset", boot.attempt)),
          Effect.forkScoped({ startImmediately: true })
        )
      }
      yield* up(context, { _tag: "control", control })
      yield* control.closed.pipe(
        Effect.tap(() => GenStatem.cast(ref.name, "disconnected", { attempt: boot.attempt })),
        Effect.tap(() => Effect.sleep(graceForHypervisor)),
        Effect.flatMap((reason) => crash(self, `lost the control channel: ${reason}`)),
        Effect.forkScoped({ startImmediately: true })
      )
      return control
    })
  )
}

/** Owns the channel to the guest's shells. A shell restores itself where it can; one that cannot is replaced with this process. */
export const shells = (context: BootContext) => {
  const { boot, environment, ref } = context
  return Layer.effect(
    Shell,
    Effect.gen(function* () {
      const emit = yield* MachineEvents
      const machine = environment.spec.name
      const running = yield* ask(ref, "hypervisor", boot.number).pipe(Effect.catch(() => stop))
      const note = BootNote.make(environment.shape.image.guest === "script")
      const shell = yield* openShell(running).pipe(
        Effect.provideService(BootProgressListener, (progress) =>
          emit({ _tag: "StillBooting", machine, detail: note(progress) })
        ),
        // The console is evidence of its own, and so is the machine's name. Of a hypervisor that ends, its own process says why.
        Effect.catch((error) =>
          Effect.flatMap(
            Effect.timeoutOption(running.exited, error._tag === "TransportError" ? graceForHypervisor : 0),
            (exit) => {
              if (exit._tag === "Some") return stop
              const { hint, silence } = silenceHint(environment)
              return failed(context, { reason: withoutName(machine, error.message).split("\n")[0]! + hint, silence })
            }
          )
        )
      )
      yield* up(context, { _tag: "shell", shell })
      // The control channel says it first, unless it was lost itself at that moment.
      yield* shell.lost.pipe(
        Effect.tap((reason) =>
          reason === rebootedReason ? GenStatem.cast(ref.name, "reset", boot.attempt) : Effect.void
        ),
        Effect.forever,
        Effect.forkScoped
      )
      return shell
    })
  )
}
