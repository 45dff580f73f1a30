/** A machine whose hardware the test declares: its QEMU, with a command line of vmtest's own. */
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import { virtioPorts } from "../../transport/GuestChannel.ts"
import { Transport } from "../../transport/Transport.ts"
import * as VirtioPort from "../../transport/VirtioPort.ts"
import type { Hypervisor, MachineShape, SavedMachine } from "../Backend.ts"
import type { BackendError } from "../BackendError.ts"
import { copySparse } from "../internal/copySparse.ts"
import { prepareInitrd } from "../internal/initrd.ts"
import { cardId, command, plugIn, socketsIn } from "./command.ts"
import { load, prepareDisks } from "./load.ts"
import { controlTimeout, loadFailed, run, type Settings, startFailed } from "./machine.ts"
import { save } from "./save.ts"
import * as saved from "./saved.ts"
import * as Tpm from "./tpm.ts"
import * as Vde from "./vde.ts"

/** The cards that QEMU does not open itself. */
const withoutTaps = (shape: MachineShape): MachineShape => ({
  ...shape,
  networks: shape.networks.filter(({ lone, port }) => port?.tap === undefined && lone === undefined)
})

/** Starts it, or continues from a saved one. */
export const start: (
  shape: MachineShape,
  settings: Settings,
  from: SavedMachine | undefined
) => Effect.Effect<Hypervisor, BackendError, Scope.Scope> = Effect.fnUntraced(function* (shape, settings, from) {
  const { accelerator, extraArguments: extra, program, timeScale, version } = settings
  const description = from === undefined ? undefined : yield* saved.read(shape, from)
  const failed = from === undefined ? startFailed(shape) : loadFailed(shape, from)
  yield* Effect.mapError(Effect.andThen(prepareDisks(shape, from), prepareInitrd(shape)), (reason) =>
    failed(reason, "")
  )
  const memory =
    from === undefined ? undefined : yield* Effect.mapError(memoryOf(shape, from), (reason) => failed(reason, ""))
  const sockets = socketsIn(shape)
  if (from !== undefined) yield* Tpm.forget(shape)
  const companion = yield* Tpm.start(shape, sockets.tpm).pipe(
    Effect.mapError((error) => (error._tag === "TpmFailed" ? failed(error.reason, error.output) : error))
  )
  const vdes = Vde.isNeededBy(version) ? yield* Vde.cardsOf(withoutTaps(shape), startFailed(shape)) : []
  const [bootstrap = "", ...ports] = sockets.ports
  const started = run({
    ...{ shape, sockets, timeScale, failed },
    ...{ called: "QEMU", talks: false, companion },
    spawn: {
      command: program,
      args: command({
        ...{ shape, sockets, vdes, accelerator, extra },
        // Never shared: what a guest writes is its own, and the file that it may have come from stays as it is.
        memory: memory === undefined ? { _tag: "Anonymous" } : { _tag: "File", path: memory, share: false },
        incoming: from !== undefined
      })
    },
    answers: { within: Duration.times(controlTimeout, timeScale) },
    before: from === undefined ? undefined : saved.consoleOf(from),
    begin: (control) =>
      // Before a saved machine goes on.
      Effect.andThen(
        vdes.length > 0 ? Effect.void : Effect.mapError(plugIn(shape, sockets), (reason) => failed(reason, "")),
        from === undefined || description === undefined
          ? Effect.succeed(undefined)
          : load({ shape, sockets, control, from, description, timeScale })
      ),
    transport: (attached) =>
      Layer.sync(Transport, () =>
        VirtioPort.make({ machine: shape.name, channel: virtioPorts({ bootstrap, ports }), attached })
      ),
    control: {
      save,
      setLink: (control, device, up) => Effect.asVoid(control.execute("set_link", { name: cardId(device), up }))
    }
  })
  // The next start is a boot, with a TPM that knows nothing of this one.
  return yield* Effect.tapError(started, () => (from === undefined ? Effect.void : Tpm.forget(shape)))
})

/**
 * The file of a saved machine's memory: its own, or where that may only be read, a copy in the machine's folder until it ends. QEMU opens the
 * file to be written, though it never writes to it. Fails with the reason.
 */
const memoryOf = (shape: MachineShape, from: SavedMachine): Effect.Effect<string, string, Scope.Scope> =>
  Effect.suspend(() => {
    const path = Path.join(from.directory, saved.fileNames.memory)
    if (Result.isSuccess(Result.try(() => Fs.accessSync(path, Fs.constants.W_OK)))) return Effect.succeed(path)
    const copy = Path.join(shape.directory, saved.fileNames.memory)
    const remove = Effect.sync(() => Fs.rmSync(copy, { force: true }))
    return Effect.as(
      Effect.acquireRelease(
        Effect.onError(copySparse(path, copy), () => remove),
        () => remove
      ),
      copy
    )
  })
