/**
 * Files and trees between host and guest, modes kept, of any size.
 *
 * A tree travels as one tar stream through a command's standard input or output, a lone file into the guest as it is. `tar` is in every
 * Debian guest and in busybox.
 *
 * @since 0.1.0
 */
import * as Path from "node:path"
import * as ByteSize from "effect/ByteSize"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import type * as PlatformError from "effect/PlatformError"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Fields from "../host/Fields.ts"
import * as HostProcess from "../host/HostProcess.ts"
import type { CommandOutput, CommandResult, ShellService } from "../transport/Shell.ts"
import { guard, traced } from "./Action.ts"
import * as Arguments from "./Arguments.ts"
import { CommandFailed } from "./Command.ts"
import type { CommandError, Guest } from "./Guest.ts"
import * as Scripts from "./internal/copyScripts.ts"
import * as HostFiles from "./internal/hostFiles.ts"
import type { InvalidArgument } from "./MachineError.ts"
import { relabel } from "./Run.ts"

/** A file of the host that is missing, cannot be read or written, or lies outside the output folder. */
export class HostFileError extends Schema.TaggedError<HostFileError>()("HostFileError", {
  machine: Schema.String,
  path: Schema.String,
  reason: Schema.String
}) {
  override get message() {
    return `${this.machine}: the host's ${this.path} ${this.reason}`
  }
}

/** What copying can fail with. */
export type CopyError = CommandError | CommandFailed | HostFileError

/** Copying, for a machine. */
export interface CopyMethods {
  /**
   * Copies a file or a tree of the host into the guest.
   *
   * `target` is the path of the copy itself; a tree is merged into a folder that is already there, and a file put into it, as into one that
   * ends in `/`, there or not. Folders above it are made; everything belongs to root. Symbolic links in a tree stay links; `source` itself may
   * be one, and is followed. A lone file written to a symbolic link goes where that leads, as with `cp` and `writeFile`, unless that is a device
   * or in a folder that there is not; a file of a tree takes the link's place. Holes stay holes where the guest has GNU tar. A folder that the guest has keeps its owner and mode, and a symbolic link to one stays (busybox's tar gives
   * folders below `target` the modes and the owner of the copy).
   *
   * It ends at the first byte that the guest cannot keep, as on a full disk, with a `CommandFailed` that says why: nothing is left of a lone
   * file then, nor when the copy is interrupted, and of a tree what came before.
   */
  readonly copyFromHost: (source: string, target: string) => Effect.Effect<void, CopyError | InvalidArgument>
  /**
   * Copies a file or a tree of the guest to the host, into the output folder and there into `folder`, under its own name.
   *
   * Gives the path of the copy. Symbolic links in a tree stay links; `source` itself may be one, and is followed. A `folder` that leads out
   * of the output folder is refused, and nothing is written; a copy with the same name that is already there is replaced. Holes stay holes where the guest has GNU tar. Modes are kept but
   * for set-user-ID and set-group-ID, and a tree with device nodes is refused: neither is a guest's to make on the host.
   */
  readonly copyFromMachine: (source: string, folder?: string) => Effect.Effect<string, CopyError | InvalidArgument>
}

const reasonOf = (error: PlatformError.PlatformError): string => {
  switch (error.reason._tag) {
    case "NotFound":
      return "does not exist"
    case "PermissionDenied":
      return "cannot be accessed: permission denied"
    default:
      return `cannot be used: ${error.message}`
  }
}

/** What tar says of a tree that is in use, and then ends with 1 although all of it was copied. */
const harmless = /changed as we read it|removed before we read it|socket ignored|^\s*$/

const inUse = (exitCode: number | undefined, complaints: string) =>
  exitCode === 1 && complaints.split("\n").every((line) => harmless.test(line))

/** What a program says whose output nobody reads any more; or it is ended by `SIGPIPE`. */
const unread = /Broken pipe|Connection reset by peer/

/** What tar says when it cannot keep what it reads; it says so, and reads on. */
const cannotKeep =
  /Wrote only|Cannot write|write error|No space left on device|Disk quota exceeded|File too large|Read-only file system|Input\/output error/

/** What a block of a file's is on a host, in bytes. */
const blockSize = 512n
/** How many bytes of holes are worth an archive; what has few is small, or compressed by its file system. */
const worthwhile = 64 * 1024

/** Packs what is in a folder, or one file of it. In pieces as large as a pipe, of 128 blocks: tar's own 10 KiB cost this process six times as many turns. */
const archiver = (
  real: string,
  { member, sparse }: { readonly member: string | undefined; readonly sparse: boolean }
) => ({
  command: "tar",
  args: [
    ...["--create", "--file=-", "--owner=0", "--group=0", "--numeric-owner", "--blocking-factor=128"],
    ...(sparse ? ["--sparse"] : []),
    ...(member === undefined ? ["--directory", real, "."] : ["--directory", Path.dirname(real), `./${member}`])
  ]
})

/** What tar gives itself that could not keep all; it was ended before it could. */
const cutShort = 2

/** What its methods take. */
export const parameters = Arguments.of<CopyMethods>({
  copyFromHost: Arguments.takes({
    source: Fields.filled("a path on the host, a string that is not empty"),
    target: Fields.filled("a path in the guest, a string that is not empty")
  }),
  copyFromMachine: Arguments.takes({
    source: Fields.filled("a path in the guest, a string that is not empty"),
    folder: Schema.optional(Schema.String)
  })
})

/** The copy methods of a guest. */
export const make = (guest: Guest): CopyMethods => {
  const { fs } = guest
  const hostError = (name: string, reason: string) => new HostFileError({ machine: guest.name, path: name, reason })
  const onHost =
    (name: string) =>
    <A, R>(effect: Effect.Effect<A, PlatformError.PlatformError, R>) =>
      Effect.mapError(effect, (error) => hostError(name, reasonOf(error)))
  const inOutput =
    (name: string) =>
    <A, R>(effect: Effect.Effect<A, HostFiles.Reason, R>) =>
      Effect.mapError(effect, (reason) => hostError(name, reason))

  /** A program of the host, and what it complains of. */
  const runOn = Effect.fnUntraced(function* (name: string, options: HostProcess.SpawnOptions) {
    const program = yield* HostProcess.spawn({ ...options, stderr: "pipe" }).pipe(
      Effect.mapError((error) => hostError(name, error.message))
    )
    const complaints = yield* Stream.mkString(Stream.decodeText(program.stderr)).pipe(
      Effect.orElseSucceed(() => ""),
      Effect.forkScoped
    )
    return { program, complaints: Effect.map(Fiber.join(complaints), (text) => text.trim()) }
  })

  /** Unpacks a tree in the guest, and ends that when it cannot be written any more. */
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
        if (cannotKeep.test(said.slice(0, said.lastIndexOf("\n") + 1))) {
          Deferred.doneUnsafe(full, Effect.succeed({ exitCode: cutShort, stdout: "", stderr: said }))
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

  const copyFromHost = (source: string, target: string): Effect.Effect<void, CopyError> =>
    Effect.scoped(
      Effect.gen(function* () {
        const real = yield* onHost(source)(fs.realPath(source))
        const { blocks, mode, mtime, size, type } = yield* onHost(source)(fs.stat(real))
        yield* onHost(source)(fs.access(real, { readable: true }))
        const folder = type === "Directory"
        if (!folder && type !== "File") return yield* hostError(source, "is neither a file nor a folder")
        const holes = Option.map(blocks, (count) => Number(ByteSize.toBigInt(size) - count * blockSize))
        const doing = `copying ${source} to ${target}`
        const shell = yield* guest.shell
        // Of a tree nobody has looked at every file.
        const sparse =
          (folder || Option.exists(holes, (bytes) => bytes >= worthwhile)) &&
          (yield* guard(
            guest,
            doing,
            Effect.mapError(shell.execute(Scripts.hasGnuTar, { timeout: Infinity }), relabel(doing))
          )).exitCode === 0
        const member = sparse && !folder ? Path.basename(real) : undefined
        const archived = folder || member !== undefined
        const packer = archived ? archiver(real, { member, sparse }) : { command: "cat", args: ["--", real] }
        const scope = yield* Effect.scope
        // Started when the guest asks for its first byte: Node throws away what a program said that ended before it was read.
        const packing = Deferred.makeUnsafe<Effect.Success<ReturnType<typeof runOn>>, HostFileError>()
        const stdin = Stream.unwrap(
          runOn(source, { ...packer, stdout: "pipe" }).pipe(
            Scope.provide(scope),
            Deferred.into(packing),
            Effect.andThen(Deferred.await(packing)),
            Effect.map(({ program }) => Stream.orDie(program.stdout)),
            Effect.orElseSucceed(() => Stream.empty)
          )
        )
        const modified = Math.floor(Option.match(mtime, { onNone: () => 0, onSome: (date) => date.getTime() }) / 1000)
        const head = { name: Path.basename(source), mode: mode & 0o7777, modified, member }
        const command = folder ? Scripts.receiveTree(target, head.mode) : Scripts.receiveFile(head, target)
        const received = archived
          ? unpack(shell, target, command, stdin)
          : shell.execute(command, { timeout: Infinity, stdin })
        const result = yield* guard(guest, doing, Effect.mapError(received, relabel(doing)))
        const failed = new CommandFailed({ machine: guest.name, command: doing, wanted: "success", ...result })
        // A command that failed may not have asked for any of it, or not for all.
        if (!Deferred.isDoneUnsafe(packing)) return yield* failed
        const { complaints, program } = yield* Deferred.await(packing)
        if (result.exitCode !== 0 && program.status() === undefined) return yield* failed
        const { exitCode, signal } = yield* program.exited
        const said = yield* complaints
        if (result.exitCode !== 0 && (signal !== undefined || unread.test(said))) return yield* failed
        if (exitCode !== 0 && !inUse(exitCode, said)) return yield* hostError(source, `cannot be read: ${said}`)
        if (result.exitCode !== 0) return yield* failed
      })
    )

  const copyFromMachine = (source: string, folder = ""): Effect.Effect<string, CopyError> =>
    Effect.scoped(
      Effect.gen(function* () {
        const name = Path.posix.basename(source)
        const output = Path.resolve(guest.output)
        const target = Path.resolve(output, folder, name)
        if (name === "" || name === ".." || name === ".") {
          return yield* hostError(target, `has no name of its own in ${source}; nothing was copied`)
        }
        const parent = yield* inOutput(target)(HostFiles.makeParent(output, target))
        // Unpacked aside and moved: a copy that fails half-way leaves nothing, and a hostile archive stays inside.
        const aside = yield* inOutput(target)(HostFiles.aside(parent))
        const { complaints, program: tar } = yield* runOn(target, {
          command: "tar",
          args: ["--extract", "--file=-", "--preserve-permissions", "--no-same-owner", "--directory", aside],
          stdin: "pipe"
        })
        const command = Scripts.send(source)
        const doing = `copying ${source} to ${target}`
        const text = new TextDecoder()
        let stderr = ""
        let exitCode = 0
        const shell = yield* guest.shell
        yield* guard(
          guest,
          doing,
          Stream.runForEach(
            Stream.mapError(shell.executeStream(command, { timeout: Infinity }), relabel(doing)),
            (event) => {
              switch (event._tag) {
                case "Stdout":
                  return Effect.mapError(tar.write(event.bytes), (error) => hostError(target, error.message))
                case "Stderr":
                  stderr += text.decode(event.bytes, { stream: true })
                  return Effect.void
                case "Exit":
                  exitCode = event.exitCode
                  return Effect.void
              }
            }
          )
        )
        yield* tar.endInput
        if (exitCode !== 0 && !inUse(exitCode, stderr)) {
          const ended = { wanted: "success", exitCode, stdout: "", stderr } as const
          return yield* new CommandFailed({ machine: guest.name, command: doing, ...ended })
        }
        const status = yield* tar.exited
        if (status.exitCode !== 0) return yield* hostError(target, `cannot be written: ${yield* complaints}`)
        yield* inOutput(target)(HostFiles.take(aside, Path.join(parent, name)))
        return target
      })
    )

  return Arguments.checked<CopyMethods>(guest.name, parameters, {
    copyFromHost: (source, target) =>
      traced(guest, { name: "copyFromHost", attributes: { path: source } }, copyFromHost(source, target)),
    copyFromMachine: (source, folder) =>
      traced(guest, { name: "copyFromMachine", attributes: { path: source } }, copyFromMachine(source, folder))
  })
}
