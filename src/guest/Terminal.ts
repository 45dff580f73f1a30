/**
 * The guest's virtual terminals (tty1 and so on), as text.
 *
 * The kernel has the content of each in `/dev/vcs<tty>`, which is read in the guest. So the terminal need not be the one on the screen, and
 * the machine needs no screen.
 *
 * **Example** (A login on the second terminal)
 *
 * ```ts
 * yield* box.sendKey("alt-f2")
 * yield* box.waitUntilTtyMatches(2, "login: ")
 * yield* box.sendChars("root\n")
 * ```
 *
 * @since 0.1.0
 */

import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as Fields from "../host/Fields.ts"
import { traced } from "./Action.ts"
import * as Arguments from "./Arguments.ts"
import * as Artefact from "./Artefact.ts"
import { codePage } from "./CodePage.ts"
import { CommandFailed } from "./Command.ts"
import type { CommandError, Guest, WaitError } from "./Guest.ts"
import type { HostFileError } from "./HostFile.ts"
import { intervalOf, pauseFunction } from "./internal/pause.ts"
import type { InvalidArgument } from "./MachineError.ts"
import * as Pattern from "./Pattern.ts"
import { executeBytes, withoutTimeout } from "./Run.ts"
import { GuestPollOptions } from "./Timeout.ts"
import { wait } from "./Wait.ts"

/** What reading a terminal can fail with; `CommandFailed` if the guest has no such terminal. */
export type TerminalError = CommandError | CommandFailed | InvalidArgument

/** The virtual terminals of a machine; `tty` is a number from 1 to 63. */
export interface TerminalMethods {
  /** The text of a terminal, without spaces at the ends of lines and empty lines at the end. */
  readonly getTtyText: (tty: number) => Effect.Effect<string, TerminalError>
  /**
   * Waits until a pattern matches the text of a terminal, and returns the match. The pattern is matched against all lines at once. A terminal
   * that does not exist yet is waited for.
   */
  readonly waitUntilTtyMatches: (
    tty: number,
    pattern: RegExp | string,
    options?: GuestPollOptions
  ) => Effect.Effect<string, WaitError | CommandFailed>
  /** Writes the text of a terminal into the output folder, as `<name>.txt`, and returns the path. Default name: `<machine>-tty<tty>`. */
  readonly dumpTtyContents: (tty: number, name?: string) => Effect.Effect<string, TerminalError | HostFileError>
}

/** Rows, columns, the cursor's column and row; then each cell's character and colours (vcs(4)). */
const textOf = (screen: Uint8Array): string => {
  const [rows = 0, columns = 0] = screen
  const lines = Array.from({ length: rows }, (_, row) =>
    Array.from({ length: columns }, (_, column) => {
      const code = screen[4 + (row * columns + column) * 2] ?? 0x20
      return code === 0 ? " " : (codePage[code] ?? " ")
    })
      .join("")
      .trimEnd()
  )
  return lines.join("\n").trimEnd()
}

/**
 * Prints the characters of a terminal whenever they have changed, one line for each screen: a terminal's content has no line ends. The shell
 * itself reads it, so that a look needs no process. The kernel creates a terminal when somebody opens it; until then the loop waits.
 */
const follow = (tty: number, interval: Duration.Duration) => `set +eu
${pauseFunction(interval)}
export LC_ALL=C
[ -c /dev/tty0 ] || { echo "the guest has no virtual terminals" >&2; exit 1; }
last=
while :; do
  { IFS= read -r screen </dev/vcs${tty}; } 2>/dev/null
  if [ "$screen" != "$last" ]; then printf '%s\\n' "$screen"; last=$screen; fi
  pause
done`

/** Characters of the kernel's code page as text, in lines of `columns`. */
const textIn = (screen: string, columns: number): string =>
  (screen.match(new RegExp(`.{1,${columns}}`, "gs")) ?? [])
    .map((line) =>
      Array.from(line, (cell) => codePage[cell.charCodeAt(0)] ?? " ")
        .join("")
        .trimEnd()
    )
    .join("\n")
    .trimEnd()

const Tty = Fields.whole(1, 63, "a terminal, a whole number")

/** What its methods take. */
export const parameters = Arguments.of<TerminalMethods>({
  getTtyText: Arguments.takes({ tty: Tty }),
  waitUntilTtyMatches: Arguments.takes({
    tty: Tty,
    pattern: Pattern.Pattern,
    options: Schema.optional(GuestPollOptions)
  }),
  dumpTtyContents: Arguments.takes({ tty: Tty, name: Schema.optional(Artefact.fileName(".txt")) })
})

/** The terminal methods of a guest. */
export const make = (guest: Guest): TerminalMethods => {
  const failed = (command: string, stderr: string, exitCode: number) =>
    new CommandFailed({ machine: guest.name, command, wanted: "success", exitCode, stdout: "", stderr })

  const read = Effect.fnUntraced(function* (tty: number) {
    const command = `cat /dev/vcsa${tty}`
    const { exitCode, stderr, stdout } = yield* executeBytes(guest, command)
    if (exitCode !== 0) return yield* failed(command, new TextDecoder().decode(stderr), exitCode)
    return textOf(stdout)
  })

  const dump = Effect.fnUntraced(function* (tty: number, name: string) {
    const file = yield* Artefact.at(guest, name, ".txt")
    yield* file.write(`${yield* read(tty)}\n`)
    return file.path
  })

  return Arguments.checked<TerminalMethods>(guest.name, parameters, {
    getTtyText: (tty) => traced(guest, { name: "getTtyText", attributes: { tty } }, read(tty)),
    waitUntilTtyMatches: Effect.fnUntraced(function* (tty, pattern, options) {
      const interval = intervalOf(options)
      let seen = ""
      const until = Effect.gen(function* () {
        const shell = yield* guest.shell
        let stderr = ""
        let size = { cells: 0, columns: 80 }
        /** The width of the terminal, which changes with its font. */
        const columnsOf = Effect.fnUntraced(function* (cells: number) {
          if (cells === size.cells) return size.columns
          const { exitCode, stdout } = yield* shell.executeBytes(`cat /dev/vcsa${tty}`, { timeout: Duration.infinity })
          size = { cells, columns: (exitCode === 0 && stdout[1]) || size.columns }
          return size.columns
        })
        const matched = yield* shell.executeStream(follow(tty, interval), { timeout: Duration.infinity }).pipe(
          Stream.mapEffect((event) => {
            if (event._tag === "Exit") return Effect.fail(failed(`reading /dev/vcs${tty}`, stderr, event.exitCode))
            if (event._tag === "Stdout") return Effect.succeed(Buffer.from(event.bytes).toString("latin1"))
            stderr += new TextDecoder().decode(event.bytes)
            return Effect.succeed("")
          }),
          Stream.splitLines,
          Stream.mapEffect((screen) =>
            Effect.map(columnsOf(screen.length), (columns) => {
              seen = textIn(screen, columns)
              const match = Pattern.matchIn(pattern, seen)
              return match === undefined ? undefined : { match }
            })
          ),
          Stream.filter((found) => found !== undefined),
          Stream.runHead
        )
        return matched._tag === "Some" ? matched.value.match : yield* failed(`reading /dev/vcs${tty}`, stderr, 1)
      })
      return yield* wait(guest, {
        name: "waitUntilTtyMatches",
        attributes: { tty },
        awaited: `${Pattern.shown(pattern)} on tty${tty}`,
        options,
        until: withoutTimeout(until),
        lastSeen: Effect.suspend(() => (seen === "" ? read(tty) : Effect.succeed(seen)))
      })
    }),
    dumpTtyContents: (tty, name = `${guest.name}-tty${tty}`) =>
      traced(guest, { name: "dumpTtyContents", attributes: { tty } }, dump(tty, name))
  })
}
