/** A guest without a machine: its shell is a shell of the host, or whatever a test makes of it. */
import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Stream from "effect/Stream"
import type { BackendService, ControlService } from "../../src/backends/Backend.ts"
import type { Guest } from "../../src/guest/Guest.ts"
import { type BootFailed, MachineDied } from "../../src/guest/MachineError.ts"
import * as PollingCondition from "../../src/guest/PollingCondition.ts"
import * as HostProcess from "../../src/host/HostProcess.ts"
import type { QmpService } from "../../src/transport/qmp/Qmp.ts"
import type { CommandResult, ExecuteOptions, ShellService } from "../../src/transport/Shell.ts"

type Execute = (command: string, options?: ExecuteOptions) => Effect.Effect<CommandResult>

const bytes = (text: string) => new TextEncoder().encode(text)

/** A shell service over one function. */
export const shellOf = (execute: Execute, lost: ShellService["lost"] = Effect.never): ShellService => ({
  machine: "box",
  lanes: 10,
  execute,
  executeBytes: (command, options) =>
    Effect.map(execute(command, options), (result) => ({
      exitCode: result.exitCode,
      stdout: bytes(result.stdout),
      stderr: bytes(result.stderr)
    })),
  executeStream: (command, options) =>
    Stream.unwrap(
      Effect.map(execute(command, options), ({ exitCode, stdout }) =>
        Stream.make({ _tag: "Stdout", bytes: bytes(stdout) } as const, { _tag: "Exit", exitCode } as const)
      )
    ),
  spawn: (command, options) =>
    Effect.map(Effect.cached(execute(command, options)), (result) => ({
      command,
      stdout: Stream.fromEffect(Effect.map(result, ({ stdout }) => bytes(stdout))),
      stderr: Stream.fromEffect(Effect.map(result, ({ stderr }) => bytes(stderr))),
      write: () => Effect.void,
      end: Effect.void,
      signal: () => Effect.void,
      wait: Effect.map(result, ({ exitCode }) => exitCode)
    })),
  awaitIdle: Effect.void,
  lost,
  reset: () => Effect.void
})

/** Runs commands in a shell of the host. */
export const hostShell = (program: "bash" | "dash"): ShellService =>
  shellOf((command, options) =>
    HostProcess.run({
      command: program === "dash" ? "sh" : "bash",
      args: ["-c", command],
      stdin: typeof options?.stdin === "string" ? { text: options.stdin } : "ignore"
    }).pipe(
      Effect.map(({ exitCode, stderr, stdout }) => ({ exitCode: exitCode ?? 137, stdout, stderr })),
      Effect.orDie
    )
  )

const backend: BackendService = {
  name: "none",
  capabilities: new Set(),
  timeScale: 1,
  fingerprint: Effect.succeed({}),
  start: () => Effect.die("no machines here")
}

/** A control channel that is nothing but QMP. */
export const controlOf = (qmp: QmpService): ControlService => {
  const nothing = Effect.die("only QMP here")
  return {
    qmp,
    closed: Effect.never,
    resets: undefined,
    powerdown: nothing,
    reset: nothing,
    pause: nothing,
    resume: nothing,
    setLink: () => nothing,
    plug: () => nothing,
    unplug: () => nothing,
    save: () => nothing,
    exclusive: nothing
  }
}

/** A guest on a shell, and a way to kill it. */
export const guestOn = (shell: ShellService, changes: Partial<Guest> = {}) =>
  Effect.gen(function* () {
    const death = yield* Deferred.make<never, MachineDied | BootFailed>()
    const conditions = yield* PollingCondition.make
    const fs = yield* FileSystem.FileSystem
    const scope = yield* Effect.scope
    const guest: Guest = {
      name: "box",
      backend,
      emit: () => Effect.void,
      shell: Effect.succeed(shell),
      shellNow: Effect.succeed(shell),
      nextBoot: () => () => Effect.succeed(false),
      hypervisor: Effect.die("no hypervisor here"),
      control: Effect.die("no control channel here"),
      console: Effect.die("no console here"),
      shellLost: Effect.void,
      died: Deferred.await(death),
      conditions,
      isPaused: Effect.succeed(false),
      consoleTail: Effect.succeed("the last line of the console"),
      // No folder can be made there, by root either.
      output: "/proc/nonexistent",
      fs,
      scope,
      ...changes
    }
    const die = Deferred.fail(
      death,
      new MachineDied({
        machine: "box",
        exitCode: 1,
        signal: "",
        doing: "",
        ended: "",
        hypervisor: "",
        console: "Kernel panic"
      })
    )
    return { guest, die, conditions }
  }).pipe(Effect.provide(NodeFileSystem.layer))
