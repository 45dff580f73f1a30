/**
 * The guest's X server: whether it runs, its windows, and its display as seen from inside the guest.
 *
 * The guest needs the packages `x11-utils` for its windows, and `xdotool` and `x11-apps` for `xDisplay`.
 *
 * **Example** (A program's window)
 *
 * ```ts
 * yield* box.waitForX()
 * yield* box.succeed("DISPLAY=:0 xterm >/dev/null 2>&1 &")
 * yield* box.waitForWindow("xterm")
 * yield* box.xDisplay(":0").sendChars("exit\n")
 * ```
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import { traced } from "../guest/Action.ts"
import * as Arguments from "../guest/Arguments.ts"
import type { CommandError, Guest, WaitError } from "../guest/Guest.ts"
import type { InvalidArgument } from "../guest/MachineError.ts"
import * as Pattern from "../guest/Pattern.ts"
import { executeBytes, withoutTimeout } from "../guest/Run.ts"
import { GuestPollOptions, PollOptions } from "../guest/Timeout.ts"
import { poll, untilShellLost, wait, waitInGuest } from "../guest/Wait.ts"
import * as Fields from "../host/Fields.ts"
import type { ShellService } from "../transport/Shell.ts"
import { DisplayUnavailable } from "./Display.ts"
import { list, titlesOf } from "./internal/windowTitles.ts"
import { environment } from "./internal/x11Display.ts"
import type { KeyboardMethods } from "./Keyboard.ts"
import type { MouseMethods } from "./Mouse.ts"
import type { RecordingMethods } from "./Recording.ts"
import type { ScreenMethods } from "./Screen.ts"
import type { ScreenImageMethods } from "./ScreenImage.ts"

/** What looking at a display, or using its pointer, can fail with. */
export type { DisplayError } from "./Display.ts"
export { DisplayUnavailable } from "./Display.ts"

const XDisplay = Fields.text('a display of the guest, such as ":0"', /^:\d+(\.\d+)?$/)

/** Which X display of the guest. */
export const XOptions = Fields.options(
  {
    /** Default `:0`. */
    display: Schema.optional(XDisplay)
  },
  '{ display: ":0" }'
)

/** Which X display of the guest. */
export interface XOptions extends Schema.Schema.Type<typeof XOptions> {}

/** Which X display to wait for, and how long. */
export const WaitForXOptions = Fields.options(
  { ...GuestPollOptions.fields, ...XOptions.fields },
  '{ timeout: "5 seconds" }'
)

/** Which X display to wait for, and how long. */
export interface WaitForXOptions extends Schema.Schema.Type<typeof WaitForXOptions> {}

/** On which X display to wait for a window, and how long. */
export const WaitForWindowOptions = Fields.options(
  { ...PollOptions.fields, ...XOptions.fields },
  '{ timeout: "5 seconds" }'
)

/** On which X display to wait for a window, and how long. */
export interface WaitForWindowOptions extends Schema.Schema.Type<typeof WaitForWindowOptions> {}

/** Everything that can be seen and done on one display. */
export interface DisplayMethods
  extends ScreenMethods,
    ScreenImageMethods,
    RecordingMethods,
    KeyboardMethods,
    MouseMethods {}

/** The X server of a machine. */
export interface X11Methods {
  /** Waits until an X server answers. */
  readonly waitForX: (options?: WaitForXOptions) => Effect.Effect<void, WaitError>
  /** The titles of all windows that have one, in xwininfo's order. */
  readonly getWindowNames: (
    options?: XOptions
  ) => Effect.Effect<ReadonlyArray<string>, CommandError | DisplayUnavailable | InvalidArgument>
  /** Waits until a pattern matches the title of a window (a string: is a part of it), and returns the title. */
  readonly waitForWindow: (
    title: RegExp | string,
    options?: WaitForWindowOptions
  ) => Effect.Effect<string, WaitError | DisplayUnavailable>
  /**
   * An X display with the methods that a machine has for its screen, run by programs in the guest: for X servers without a screen, such as
   * Xvfb. A machine whose backend has no screen uses `:0` for its own methods.
   */
  readonly xDisplay: (display?: string) => DisplayMethods
}

const reasonOf = (stderr: Uint8Array) => new TextDecoder().decode(stderr).trim()

/** When to ask for the windows again, by default: an xwininfo itself takes about 50 ms under emulation. */
const windowSchedule = Schedule.spaced("100 millis")

/** What its methods take. */
export const parameters = Arguments.of<X11Methods>({
  waitForX: Arguments.takes({ options: Schema.optional(WaitForXOptions) }),
  getWindowNames: Arguments.takes({ options: Schema.optional(XOptions) }),
  waitForWindow: Arguments.takes({ title: Pattern.Pattern, options: Schema.optional(WaitForWindowOptions) }),
  xDisplay: Arguments.takes({ display: Schema.optional(XDisplay) }, { gives: "methods" })
})

/** The X methods of a guest. */
export const make = (guest: Guest, methodsOf: (display: string) => DisplayMethods): X11Methods => {
  const windows = (display: string) =>
    Effect.flatMap(executeBytes(guest, list(display)), ({ exitCode, stderr, stdout }) =>
      exitCode === 0
        ? Effect.succeed(titlesOf(stdout))
        : Effect.fail(new DisplayUnavailable({ machine: guest.name, reason: reasonOf(stderr) }))
    )
  return Arguments.checked<X11Methods>(guest.name, parameters, {
    waitForX: Effect.fnUntraced(function* (options) {
      const display = options?.display ?? ":0"
      const socket = `/tmp/.X11-unix/X${/\d+/.exec(display)?.[0]}`
      // xdpyinfo and xwininfo are in different packages; if the guest has neither, the socket has to do.
      const answers = `if command -v xwininfo; then xwininfo -root; elif command -v xdpyinfo; then xdpyinfo; fi`
      yield* waitInGuest(guest, {
        name: "waitForX",
        attributes: { display },
        awaited: `the X server ${display}`,
        options,
        // The key file is looked up each time: the server may not have started yet, or may restart.
        loop: `until [ -S ${socket} ] && (\n${environment(display)}\n${answers}\n) >/dev/null 2>&1; do pause; done`,
        look: `${environment(display)}\nls -la /tmp/.X11-unix 2>&1; xwininfo -root 2>&1 | head -n 5; true`
      })
    }),
    getWindowNames: ({ display = ":0" } = {}) =>
      traced(guest, { name: "getWindowNames", attributes: { display } }, windows(display)),
    waitForWindow: Effect.fnUntraced(function* (title, options) {
      const display = options?.display ?? ":0"
      let seen: ReadonlyArray<string> | undefined
      const look = Effect.fnUntraced(function* (shell: ShellService) {
        const { exitCode, stderr, stdout } = yield* withoutTimeout(
          shell.executeBytes(list(display), { timeout: Duration.infinity })
        )
        // An X server may still start; a missing program will not appear.
        if (exitCode === 127) return yield* new DisplayUnavailable({ machine: guest.name, reason: reasonOf(stderr) })
        seen = exitCode === 0 ? titlesOf(stdout) : [reasonOf(stderr)]
        return exitCode === 0 ? seen.find((name) => Pattern.matchIn(title, name) !== undefined) : undefined
      })
      return yield* wait(guest, {
        name: "waitForWindow",
        attributes: { display },
        awaited: `a window ${Pattern.shown(title)} on ${display}`,
        options,
        until: untilShellLost(guest, "xwininfo -root -tree", (shell) =>
          poll(look(shell), options?.schedule ?? windowSchedule)
        ),
        lastSeen: Effect.map(
          Effect.suspend(() => (seen === undefined ? windows(display) : Effect.succeed(seen))),
          (names) => names.join("\n")
        )
      })
    }),
    xDisplay: (display = ":0") => methodsOf(display)
  })
}
