/**
 * The user's terminal on a guest, to look around while writing a test.
 *
 * All keys go to the guest, also Ctrl-C; only Ctrl-] leaves. The time counts for the test's timeout.
 *
 * **Example** (Look around before the test continues)
 *
 * ```ts
 * yield* web.waitForUnit("nginx")
 * yield* web.shellInteract()
 * ```
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import type { ControlError } from "../backends/BackendError.ts"
import { quote } from "../host/Quote.ts"
import type { Size, Terminal } from "../host/Terminal.ts"
import { UserTerminal } from "../host/Terminal.ts"
import type { GuestProcess, ShellService } from "../transport/Shell.ts"
import type { ShellError } from "../transport/ShellError.ts"
import { guard } from "./Action.ts"
import * as Arguments from "./Arguments.ts"
import type { CommandError, Guest, Unavailable } from "./Guest.ts"
import { Line } from "./internal/line.ts"
import type { PollingConditionFailed } from "./PollingCondition.ts"

/** There is no terminal to use: standard input or output is not one, or another interaction uses it. */
export class NoTerminal extends Schema.TaggedError<NoTerminal>()("NoTerminal", {
  machine: Schema.String,
  reason: Schema.String
}) {
  override get message() {
    return `${this.machine}: could not connect a terminal: ${this.reason}`
  }
}

/** Using a machine by hand. */
export interface InteractMethods {
  /**
   * Connects the terminal to a root shell in the guest, until the shell ends or Ctrl-] ends it.
   *
   * The shell has a terminal of its own if the guest has `script`, as every Debian guest does. Otherwise lines are edited on the host, and
   * programs that need a terminal do not work.
   */
  readonly shellInteract: () => Effect.Effect<void, CommandError | NoTerminal>
  /** Connects the terminal to the serial console, starting with its last lines, until Ctrl-] is pressed or the machine ends. */
  readonly consoleInteract: () => Effect.Effect<void, Unavailable | ControlError | PollingConditionFailed | NoTerminal>
}

/** Ctrl-], as in telnet and virsh. */
const escape = 0x1d

interface Session<E> {
  /** Takes keys. */
  readonly input: (bytes: Uint8Array) => Effect.Effect<void, E>
  readonly resized: (size: Size) => Effect.Effect<void, E>
}

/** Passes on the terminal's events until Ctrl-] is pressed or the terminal closes. */
const serve = <E>(terminal: Terminal, session: Session<E>): Effect.Effect<void, E> =>
  terminal.events.pipe(
    Stream.mapEffect((event) => {
      if (event._tag === "Resized") return Effect.as(session.resized(event.size), true)
      const at = event.bytes.indexOf(escape)
      const bytes = at === -1 ? event.bytes : event.bytes.subarray(0, at)
      return Effect.as(bytes.length === 0 ? Effect.void : session.input(bytes), at === -1)
    }),
    Stream.takeWhile((isOpen) => isOpen),
    Stream.runDrain
  )

/** Writes the name of the shell's terminal to standard error, which nothing else uses, so that the terminal can be resized later. */
const shellCommand = ({ kind, size }: Terminal) => `set +eu
if command -v bash >/dev/null; then shell='bash -l'; else shell='sh -l'; fi
export TERM=${quote(kind)} SHELL=/bin/sh
exec 3>&2
session="tty >&3; exec 3>&-; stty sane rows ${size.rows} cols ${size.columns}; exec $shell"
if command -v script >/dev/null; then exec script -qfc "$session" /dev/null; fi
echo none >&3
exec 3>&-
exec sh -i 2>&1`

/** The device of the shell's terminal in the guest; undefined for a shell without one. */
const deviceOf = (process: GuestProcess): Effect.Effect<string | undefined, ShellError> =>
  process.stderr.pipe(
    Stream.decodeText(),
    Stream.splitLines,
    Stream.filter((line) => /^(\/dev\/|none$)/.test(line)),
    Stream.runHead,
    Effect.map((line) => (line._tag === "Some" && line.value !== "none" ? line.value : undefined))
  )

const onDevice = (shell: ShellService, process: GuestProcess, device: string): Session<ShellError> => ({
  input: process.write,
  resized: ({ columns, rows }) =>
    Effect.asVoid(shell.execute(`stty -F ${quote(device)} rows ${rows} cols ${columns}`, { timeout: "10 seconds" }))
})

/** A shell without a terminal gets whole lines. */
const onLines = (terminal: Terminal, process: GuestProcess): Session<ShellError> => {
  const line = new Line()
  return {
    input: (bytes) =>
      Effect.forEach(
        line.take(bytes),
        (act) => {
          switch (act._tag) {
            case "Echo":
              return terminal.write(act.text)
            case "Send":
              return process.write(act.text)
            case "Interrupt":
              // To its whole group: an interactive shell ignores it, and its children may ignore SIGINT.
              return process.signal("TERM")
            case "End":
              return process.end
          }
        },
        { discard: true }
      ),
    resized: () => Effect.void
  }
}

/** Its methods take nothing. */
export const parameters = Arguments.of<InteractMethods>({
  shellInteract: Arguments.takes({}),
  consoleInteract: Arguments.takes({})
})

/** The interact methods of a guest. */
export const make = (guest: Guest): InteractMethods => {
  const opened = Effect.gen(function* () {
    const open = yield* UserTerminal
    const terminal = yield* Effect.mapError(open, ({ reason }) => new NoTerminal({ machine: guest.name, reason }))
    const say = (text: string) => terminal.write(`vmtest: ${guest.name}: ${text}\r\n`)
    return { terminal, say }
  })

  const shellInteract = Effect.fnUntraced(function* () {
    const { say, terminal } = yield* opened
    const shell = yield* guest.shell
    yield* say("a root shell; Ctrl-] leaves")
    const talk = Effect.gen(function* () {
      const process = yield* shell.spawn(shellCommand(terminal), { timeout: Infinity })
      const device = yield* deviceOf(process)
      const session = device === undefined ? onLines(terminal, process) : onDevice(shell, process, device)
      yield* Effect.raceFirst(Stream.runForEach(process.stdout, terminal.write), serve(terminal, session))
    })
    yield* guard(guest, { name: "shellInteract", doing: "connected to the terminal" }, Effect.scoped(talk))
    yield* say("left")
  }, Effect.scoped)

  const consoleInteract = Effect.fnUntraced(function* () {
    const { say, terminal } = yield* opened
    const { console } = yield* guest.hypervisor
    yield* say("its console; Ctrl-] leaves")
    const log = yield* console.log
    // The last lines may have a prompt that the user wants to answer.
    let skip = log.lastIndexOf("\n", Math.max(0, log.length - 1000)) + 1
    const show = (text: string) => {
      const shown = text.slice(skip)
      skip = Math.max(0, skip - text.length)
      return terminal.write(shown)
    }
    const text = new TextDecoder()
    const session: Session<ControlError> = {
      input: (bytes) => console.write(text.decode(bytes, { stream: true })),
      resized: () => Effect.void
    }
    yield* guard(
      guest,
      { name: "consoleInteract", doing: "connected to the console" },
      Effect.raceFirst(Stream.runForEach(console.stream, show), serve(terminal, session))
    )
    yield* say("left")
  }, Effect.scoped)

  return { shellInteract, consoleInteract }
}
