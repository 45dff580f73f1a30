/**
 * Files in a guest.
 *
 * **Example** (A configuration file)
 *
 * ```ts
 * yield* web.writeFile("/etc/nginx/conf.d/site.conf", "server { listen 8080; }\n")
 * yield* web.succeed("systemctl start nginx")
 * yield* web.waitForFile("/run/nginx.pid")
 * const pid = yield* web.readFile("/run/nginx.pid")
 * ```
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Fields from "../host/Fields.ts"
import { quote } from "../host/Quote.ts"
import { traced } from "./Action.ts"
import * as Arguments from "./Arguments.ts"
import { CommandFailed } from "./Command.ts"
import type { CommandError, Guest, WaitError } from "./Guest.ts"
import type { InvalidArgument } from "./MachineError.ts"
import { execute, executeBytes } from "./Run.ts"
import { GuestPollOptions } from "./Timeout.ts"
import { waitInGuest } from "./Wait.ts"

/** How a file is written. */
export const WriteOptions = Fields.options(
  {
    /** Its mode, as `chmod` takes it: `"0644"`. Default: an existing file keeps its mode, a new one follows the guest's umask. */
    mode: Schema.optional(Fields.filled('a string as chmod takes it, such as "0644"'))
  },
  '{ mode: "0644" }'
)

/** How a file is written. */
export interface WriteOptions extends Schema.Schema.Type<typeof WriteOptions> {}

/** The files of a machine. */
export interface FileMethods {
  /** Waits until a path exists, whatever its kind. */
  readonly waitForFile: (path: string, options?: GuestPollOptions) => Effect.Effect<void, WaitError>
  /** Waits until a path does not exist. */
  readonly waitUntilFileIsGone: (path: string, options?: GuestPollOptions) => Effect.Effect<void, WaitError>
  /** The text of a file (UTF-8, invalid bytes replaced) of up to 256 MiB; for larger files use `copyFromMachine`. */
  readonly readFile: (path: string) => Effect.Effect<string, CommandError | CommandFailed | InvalidArgument>
  /** The bytes of a file of up to 256 MiB. */
  readonly readFileBytes: (path: string) => Effect.Effect<Uint8Array, CommandError | CommandFailed | InvalidArgument>
  /** Writes a file of any length, and creates missing folders above it. */
  readonly writeFile: (
    path: string,
    content: string | Uint8Array,
    options?: WriteOptions
  ) => Effect.Effect<void, CommandError | CommandFailed | InvalidArgument>
}

/** Runs a command that must succeed. */
export const must = Effect.fnUntraced(function* (
  guest: Guest,
  command: string,
  options: Parameters<typeof execute>[2] = {}
) {
  const result = yield* execute(guest, command, options)
  if (result.exitCode === 0) return result.stdout
  return yield* new CommandFailed({ machine: guest.name, command, wanted: "success", ...result })
})

/** A quoted path that no command takes for an option, even if it begins with a hyphen. */
export const path = (name: string): string => quote(name.startsWith("-") ? `./${name}` : name)

const GuestPath = Fields.filled("a path in the guest, a string that is not empty")
const awaited = Arguments.takes({ path: GuestPath, options: Schema.optional(GuestPollOptions) })

/** What its methods take. */
export const parameters = Arguments.of<FileMethods>({
  waitForFile: awaited,
  waitUntilFileIsGone: awaited,
  readFile: Arguments.takes({ path: GuestPath }),
  readFileBytes: Arguments.takes({ path: GuestPath }),
  writeFile: Arguments.takes({ path: GuestPath, content: Fields.Content, options: Schema.optional(WriteOptions) })
})

/** The file methods of a guest. */
export const make = (guest: Guest): FileMethods => {
  const waitFor = (wanted: "exist" | "be gone") =>
    Effect.fnUntraced(function* (name: string, options?: GuestPollOptions) {
      const there = `[ -e ${path(name)} ] || [ -L ${path(name)} ]`
      yield* waitInGuest(guest, {
        name: wanted === "exist" ? "waitForFile" : "waitUntilFileIsGone",
        attributes: { path: name },
        awaited: `the file ${name} to ${wanted}`,
        options,
        loop: `${wanted === "exist" ? "until" : "while"} { ${there}; }; do pause; done`,
        // The file itself comes last: errors show the end of what was seen.
        look: `set +eu\nd=${path(name)}; d=\${d%/*}; ls -la -- "\${d:-/}" 2>&1 | head -n 9; ls -ld -- ${path(name)} 2>&1; true`
      })
    })
  const readBytes = Effect.fnUntraced(function* (name: string) {
    const command = `cat -- ${path(name)}`
    const { exitCode, stderr, stdout } = yield* executeBytes(guest, command)
    if (exitCode === 0) return stdout
    const text = new TextDecoder()
    return yield* new CommandFailed({
      machine: guest.name,
      command,
      wanted: "success",
      exitCode,
      stdout: "",
      stderr: text.decode(stderr)
    })
  })

  return Arguments.checked<FileMethods>(guest.name, parameters, {
    waitForFile: waitFor("exist"),
    waitUntilFileIsGone: waitFor("be gone"),
    readFile: (name) =>
      traced(guest, { name: "readFile", attributes: { path: name } }, must(guest, `cat -- ${path(name)}`)),
    readFileBytes: (name) => traced(guest, { name: "readFileBytes", attributes: { path: name } }, readBytes(name)),
    writeFile: (name, content, options) => {
      const folder = name.includes("/") ? `mkdir -p -- ${path(name.slice(0, name.lastIndexOf("/")) || "/")}\n` : ""
      // A file for few people must not be open to all while it is written.
      const [before, after] =
        options?.mode === undefined ? ["", ""] : ["umask 077\n", `\nchmod -- ${quote(options.mode)} ${path(name)}`]
      const written = must(guest, `${folder}${before}cat > ${path(name)}${after}`, { stdin: content })
      return traced(guest, { name: "writeFile", attributes: { path: name } }, Effect.asVoid(written))
    }
  })
}
