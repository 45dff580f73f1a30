/** Copying out of a guest. */
import * as Path from "node:path"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { guard } from "../Action.ts"
import { CopyFailed } from "../CopyFailed.ts"
import type { CommandError, Guest } from "../Guest.ts"
import type { HostFileError } from "../HostFile.ts"
import { relabel } from "../Run.ts"
import * as Scripts from "./copyScripts.ts"
import * as HostFiles from "./hostFiles.ts"
import { hostError, runFor, unpacker, wasInUse } from "./hostTar.ts"

/** Has the guest send `source`, and gives each piece to `write`; gives how the guest's tar ended. */
const receive = Effect.fnUntraced(function* <E>(
  guest: Guest,
  source: string,
  doing: string,
  write: (bytes: Uint8Array) => Effect.Effect<void, E>
) {
  const text = new TextDecoder()
  let stderr = ""
  let exitCode = 0
  const shell = yield* guest.shell
  const sent = Stream.mapError(shell.executeStream(Scripts.send(source), { timeout: Infinity }), relabel(doing))
  const received = Stream.runForEach(sent, (event) => {
    switch (event._tag) {
      case "Stdout":
        return write(event.bytes)
      case "Stderr":
        stderr += text.decode(event.bytes, { stream: true })
        return Effect.void
      case "Exit":
        exitCode = event.exitCode
        return Effect.void
    }
  })
  yield* guard(guest, doing, received)
  return { exitCode, stderr }
})

/** Copies a file or a tree of the guest into a folder of the output folder, and gives the copy's path. */
export const copyFromMachine = (
  guest: Guest,
  source: string,
  folder: string
): Effect.Effect<string, CommandError | CopyFailed | HostFileError> =>
  Effect.scoped(
    Effect.gen(function* () {
      const name = Path.posix.basename(source)
      const output = Path.resolve(guest.output)
      const target = Path.resolve(output, folder, name)
      const explained = Effect.mapError((reason: HostFiles.Reason) => hostError(guest, target, reason))
      if (name === "" || name === ".." || name === ".") {
        return yield* hostError(guest, target, `was not written: ${source} has no name of its own to copy it to`)
      }
      const parent = yield* explained(HostFiles.makeParent(output, target))
      // Unpacked beside its place and moved: a copy that fails half-way leaves nothing, and a hostile archive stays inside.
      const staging = yield* explained(HostFiles.stagingFolder(parent))
      const { complaints, program: tar } = yield* runFor(guest, target, { ...unpacker(staging), stdin: "pipe" })
      const doing = `copying ${source} to ${target}`
      const { exitCode, stderr } = yield* receive(guest, source, doing, (bytes) =>
        Effect.mapError(tar.write(bytes), (error) => hostError(guest, target, error.message))
      )
      yield* tar.endInput
      if (exitCode !== 0 && !wasInUse(exitCode, stderr)) {
        return yield* new CopyFailed({ machine: guest.name, direction: "from", source, target, exitCode, stderr })
      }
      const status = yield* tar.exited
      if (status.exitCode !== 0) {
        return yield* hostError(guest, target, `could not be written: ${yield* complaints}`)
      }
      yield* explained(HostFiles.moveInto(staging, Path.join(parent, name)))
      return target
    })
  )
