/** Copying into a guest. */
import * as Path from "node:path"
import * as ByteSize from "effect/ByteSize"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as PlatformError from "effect/PlatformError"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { CommandOutput, CommandResult, ShellService } from "../../transport/Shell.ts"
import { guard } from "../Action.ts"
import { CopyFailed } from "../CopyFailed.ts"
import type { CommandError, Guest } from "../Guest.ts"
import type { HostFileError } from "../HostFile.ts"
import { relabel } from "../Run.ts"
import * as Scripts from "./copyScripts.ts"
import { hostError, packer, runFor, wasInUse } from "./hostTar.ts"

const reasonOf = (error: PlatformError.PlatformError): string => {
  switch (error.reason._tag) {
    case "NotFound":
      return "does not exist"
    case "PermissionDenied":
      return "could not be read: permission denied"
    default:
      return `could not be read: ${error.message}`
  }
}

/** What a program says when nobody reads its output any more, unless `SIGPIPE` ended it. */
const outputUnread = /Broken pipe|Connection reset by peer/

/** What tar says when it cannot store what it reads; then it reads on. */
const storeFailure =
  /Wrote only|Cannot write|write error|No space left on device|Disk quota exceeded|File too large|Read-only file system|Input\/output error/

/** tar's own exit code for a copy that is not complete; it was ended before it could exit with it. */
const incomplete = 2

/** The size in bytes of a block, as a host counts a file's. */
const blockSize = 512n

/** The least bytes of holes that are worth an archive: a file with fewer is small, or compressed by its file system. */
const leastHoles = 64 * 1024

/** A file or folder of the host that is to be copied. */
interface Source {
  /** As the test gave it. */
  readonly path: string
  /** Without symbolic links. */
  readonly real: string
  readonly isFolder: boolean
  readonly mode: number
  /** Seconds since 1970. */
  readonly modified: number
  /** Whether it may have holes that are worth an archive; of a tree nobody has looked at every file. */
  readonly mayHaveHoles: boolean
}

const look = Effect.fnUntraced(function* (guest: Guest, path: string) {
  const { fs } = guest
  const explained = Effect.mapError((error: PlatformError.PlatformError) => hostError(guest, path, reasonOf(error)))
  const real = yield* explained(fs.realPath(path))
  const { blocks, mode, mtime, size, type } = yield* explained(fs.stat(real))
  yield* explained(fs.access(real, { readable: true }))
  const isFolder = type === "Directory"
  if (!isFolder && type !== "File") return yield* hostError(guest, path, "is neither a file nor a folder")
  const holes = Option.map(blocks, (count) => Number(ByteSize.toBigInt(size) - count * blockSize))
  return {
    path,
    real,
    isFolder,
    mode: mode & 0o7777,
    modified: Math.floor(Option.match(mtime, { onNone: () => 0, onSome: (date) => date.getTime() }) / 1000),
    mayHaveHoles: isFolder || Option.exists(holes, (bytes) => bytes >= leastHoles)
  } satisfies Source
})

/** Unpacks a tree in the guest, and stops when the guest cannot store any more. */
const unpack = Effect.fnUntraced(function* (
  shell: ShellService,
  target: string,
  command: string,
  stdin: Stream.Stream<Uint8Array>
) {
  const full = Deferred.makeUnsafe<CommandResult>()
  const text = new TextDecoder()
  let said = ""
  const stream = ({ _tag, bytes }: CommandOutput) =>
    Effect.sync(() => {
      if (_tag === "Stdout") return
      said += text.decode(bytes, { stream: true })
      // Whole lines only: the reason is at the end of one.
      if (storeFailure.test(said.slice(0, said.lastIndexOf("\n") + 1))) {
        Deferred.doneUnsafe(full, Effect.succeed({ exitCode: incomplete, stdout: "", stderr: said }))
      }
    })
  const result = yield* Effect.raceFirst(
    shell.execute(command, { timeout: Infinity, stdin, stream }),
    Deferred.await(full)
  )
  if (!/Wrote only/.test(result.stderr)) return result
  const { stderr } = yield* shell.execute(Scripts.whyFull(target), { timeout: "1 minute" })
  return { ...result, stderr: result.stderr + stderr }
})

/** A program of the host that reads the source, started when the guest asks for its first byte: Node drops the complaints of one that ends before. */
const lazily = Effect.fnUntraced(function* (
  guest: Guest,
  source: Source,
  program: { command: string; args: string[] }
) {
  const scope = yield* Effect.scope
  const started = Deferred.makeUnsafe<Effect.Success<ReturnType<typeof runFor>>, HostFileError>()
  const output = Stream.unwrap(
    runFor(guest, source.path, { ...program, stdout: "pipe" }).pipe(
      Scope.provide(scope),
      Deferred.into(started),
      Effect.andThen(Deferred.await(started)),
      Effect.map(({ program }) => Stream.orDie(program.stdout)),
      Effect.orElseSucceed(() => Stream.empty)
    )
  )
  return { started, output }
})

/** Copies a file or a tree of the host into the guest. */
export const copyFromHost = (
  guest: Guest,
  path: string,
  target: string
): Effect.Effect<void, CommandError | CopyFailed | HostFileError> =>
  Effect.scoped(
    Effect.gen(function* () {
      const source = yield* look(guest, path)
      const doing = `copying ${path} to ${target}`
      const guarded = <E>(effect: Effect.Effect<CommandResult, E>) =>
        guard(guest, doing, Effect.mapError(effect, relabel(doing)))
      const shell = yield* guest.shell
      const sparse =
        source.mayHaveHoles && (yield* guarded(shell.execute(Scripts.hasGnuTar, { timeout: Infinity }))).exitCode === 0
      const member = sparse && !source.isFolder ? Path.basename(source.real) : undefined
      const isArchive = source.isFolder || member !== undefined
      const sender = yield* lazily(
        guest,
        source,
        isArchive ? packer(source.real, { member, sparse }) : { command: "cat", args: ["--", source.real] }
      )
      const { mode, modified } = source
      const command = source.isFolder
        ? Scripts.receiveTree(target, mode)
        : Scripts.receiveFile({ name: Path.basename(path), mode, modified, member }, target)
      const result = yield* guarded(
        isArchive
          ? unpack(shell, target, command, sender.output)
          : shell.execute(command, { timeout: Infinity, stdin: sender.output })
      )
      const { exitCode: code, stderr } = result
      const failed = new CopyFailed({
        ...{ machine: guest.name, direction: "to", source: path, target },
        ...{ exitCode: code, stderr }
      })
      // A command that failed may have asked for none of it, or not for all.
      if (!Deferred.isDoneUnsafe(sender.started)) return yield* failed
      const { complaints, program } = yield* Deferred.await(sender.started)
      if (result.exitCode !== 0 && program.status() === undefined) return yield* failed
      const { exitCode, signal } = yield* program.exited
      const said = yield* complaints
      if (result.exitCode !== 0 && (signal !== undefined || outputUnread.test(said))) return yield* failed
      if (exitCode !== 0 && !wasInUse(exitCode, said)) {
        return yield* hostError(guest, path, `could not be read: ${said}`)
      }
      if (result.exitCode !== 0) return yield* failed
    })
  )
