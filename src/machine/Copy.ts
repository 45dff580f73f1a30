/**
 * Files and trees between host and guest, modes kept, of any size.
 *
 * They travel as one tar stream through a command's standard input or output. `tar` is in every Debian guest and in busybox.
 *
 * @since 0.1.0
 */
import * as Path from "node:path"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type * as PlatformError from "effect/PlatformError"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as HostProcess from "../host/HostProcess.ts"
import { CommandFailed } from "./Command.ts"
import { path } from "./File.ts"
import { type CommandError, type Guest, guard, quote } from "./internal/Guest.ts"

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

type CopyError = CommandError | CommandFailed | HostFileError

/** Copying, for a machine. */
export interface CopyMethods {
  /**
   * Copies a file or a tree of the host into the guest.
   *
   * `target` is the path of the copy itself; a tree is merged into a folder that is already there, and a file put into it. Folders above it
   * are made; everything belongs to root.
   */
  readonly copyFromHost: (source: string, target: string) => Effect.Effect<void, CopyError>
  /**
   * Copies a file or a tree of the guest to the host, into the output folder and there into `folder`, under its own name.
   *
   * Gives the path of the copy. A `folder` that leads out of the output folder is refused, and nothing is written; a copy with the same name
   * that is already there is replaced.
   */
  readonly copyFromMachine: (source: string, folder?: string) => Effect.Effect<string, CopyError>
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

/** The copy methods of a guest. */
export const make = (guest: Guest): CopyMethods => {
  const { fs } = guest
  const hostError = (name: string, reason: string) => new HostFileError({ machine: guest.name, path: name, reason })
  const onHost =
    (name: string) =>
    <A, R>(effect: Effect.Effect<A, PlatformError.PlatformError, R>) =>
      Effect.mapError(effect, (error) => hostError(name, reasonOf(error)))

  const packed = Effect.fnUntraced(function* (source: string, args: ReadonlyArray<string>) {
    const tar = yield* HostProcess.spawn({
      command: "tar",
      args: ["--create", "--file=-", "--owner=0", "--group=0", "--numeric-owner", ...args],
      stdout: "pipe",
      stderr: "pipe"
    }).pipe(Effect.mapError((error) => hostError(source, error.message)))
    const complaints = yield* Stream.mkString(Stream.decodeText(tar.stderr)).pipe(
      Effect.orElseSucceed(() => ""),
      Effect.forkScoped
    )
    return { tar, complaints }
  })

  const copyFromHost = (source: string, target: string): Effect.Effect<void, CopyError> =>
    Effect.scoped(
      Effect.gen(function* () {
        const info = yield* onHost(source)(fs.stat(source))
        yield* onHost(source)(fs.access(source, { readable: true }))
        const folder = info.type === "Directory"
        const { tar, complaints } = yield* packed(
          source,
          folder ? ["--directory", source, "."] : ["--directory", Path.dirname(source), `./${Path.basename(source)}`]
        )
        // A lone file arrives beside its target and is moved there, so that nobody sees half of it.
        const command = folder
          ? `mkdir -p -- ${path(target)}\ntar -xpf - -C ${path(target)}`
          : `t=${path(target)}
[ ! -d "$t" ] || t="\${t%/}/"${quote(Path.basename(source))}
case "$t" in */*) d=\${t%/*}/ ;; *) d=./ ;; esac
mkdir -p -- "$d"
tmp="$d.vmtest-copy-$$"
mkdir -- "$tmp"
if tar -xpf - -C "$tmp" && mv -f -- "$tmp"/${quote(Path.basename(source))} "$t"; then rmdir -- "$tmp"; else rm -rf -- "$tmp"; exit 1; fi`
        const shell = yield* guest.shell
        const result = yield* guard(
          guest,
          `copying ${source} to ${target}`,
          shell.execute(command, { timeout: Infinity, stdin: Stream.orDie(tar.stdout) })
        )
        if (result.exitCode !== 0) {
          return yield* new CommandFailed({ machine: guest.name, command, wanted: "success", ...result })
        }
        const status = yield* tar.exited
        if (status.exitCode !== 0) {
          return yield* hostError(source, `cannot be read: ${(yield* Fiber.join(complaints)).trim()}`)
        }
      })
    )

  const copyFromMachine = (source: string, folder = ""): Effect.Effect<string, CopyError> =>
    Effect.scoped(
      Effect.gen(function* () {
        const clean = source.replace(/\/+$/, "")
        const name = Path.posix.basename(clean)
        const output = Path.resolve(guest.output)
        const target = Path.resolve(output, folder, name)
        if (name === "" || name === ".." || name === "." || !target.startsWith(output + Path.sep)) {
          return yield* hostError(target, `is outside the output folder ${output}; nothing was copied`)
        }
        yield* onHost(target)(fs.makeDirectory(Path.dirname(target), { recursive: true }))
        // Unpacked aside and renamed: a copy that fails half-way leaves nothing, and a hostile archive stays inside.
        const aside = yield* onHost(target)(
          fs.makeTempDirectoryScoped({ directory: Path.dirname(target), prefix: ".copy-" })
        )
        const tar = yield* HostProcess.spawn({
          command: "tar",
          args: ["--extract", "--file=-", "--preserve-permissions", "--no-same-owner", "--directory", aside],
          stdin: "pipe",
          stderr: "pipe"
        }).pipe(Effect.mapError((error) => hostError(target, error.message)))
        const complaints = yield* Effect.forkScoped(
          Effect.orElseSucceed(Stream.mkString(Stream.decodeText(tar.stderr)), () => "")
        )
        const command = `tar -C ${path(Path.posix.dirname(clean) || "/")} -cf - ./${quote(name)}`
        const text = new TextDecoder()
        let stderr = ""
        let exitCode = 0
        const shell = yield* guest.shell
        yield* guard(
          guest,
          `copying ${source} to the host`,
          Stream.runForEach(shell.executeStream(command, { timeout: Infinity }), (event) => {
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
          })
        )
        yield* tar.endInput
        if (exitCode !== 0) {
          return yield* new CommandFailed({
            machine: guest.name,
            command,
            wanted: "success",
            exitCode,
            stdout: "",
            stderr
          })
        }
        const status = yield* tar.exited
        if (status.exitCode !== 0) {
          return yield* hostError(target, `cannot be written: ${(yield* Fiber.join(complaints)).trim()}`)
        }
        yield* onHost(target)(fs.remove(target, { recursive: true, force: true }))
        yield* onHost(target)(fs.rename(Path.join(aside, name), target))
        return target
      })
    )

  return { copyFromHost, copyFromMachine }
}
