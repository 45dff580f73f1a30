/**
 * An X display of the guest, used from inside the guest: for guests whose hypervisor has no screen, and for X servers without one (Xvfb).
 *
 * Keys and pointer go through xdotool; pictures come from xwd (Debian's x11-apps), or from the file that Xvfb keeps with `-fbdir`.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { Deadlines } from "../../guest/Deadlines.ts"
import type { Guest } from "../../guest/Guest.ts"
import { quote } from "../../host/Quote.ts"
import type { BytesResult } from "../../transport/Shell.ts"
import { type Button, type Combination, type Display, DisplayUnavailable, type Touch } from "../Display.ts"
import { fromXwd } from "./xwd.ts"

/** Sets what X programs need; the server's key file is the one after its `-auth`. */
export const environment = (display: string): string => `set +eu
export DISPLAY=${quote(display)}
if [ -z "\${XAUTHORITY:-}" ]; then
  for pid in $(pidof Xorg X Xvfb Xwayland 2>/dev/null); do
    case " $(tr '\\0' ' ' <"/proc/$pid/cmdline") " in
      *" ${display.replace(/[^:.\w-]/g, "")} "*" -auth "*|*" -auth "*" ${display.replace(/[^:.\w-]/g, "")} "*)
        XAUTHORITY=$(tr '\\0' '\\n' <"/proc/$pid/cmdline" | sed -n '/^-auth$/{n;p;}')
        export XAUTHORITY ;;
    esac
  done 2>/dev/null
fi
need() { command -v "$1" >/dev/null || { echo "the guest has no $1; add the package $2 to its image" >&2; exit 127; }; }
`

const capture = (display: string): string => `if command -v xwd >/dev/null; then
  exec xwd -root -silent
fi
for pid in $(pidof Xvfb 2>/dev/null); do
  folder=$(tr '\\0' '\\n' <"/proc/$pid/cmdline" | sed -n '/^-fbdir$/{n;p;}')
  case " $(tr '\\0' ' ' <"/proc/$pid/cmdline") " in *" ${display.replace(/[^:.\w-]/g, "")} "*)
    [ -n "$folder" ] && exec cat "$folder/Xvfb_screen0" ;;
  esac
done
need xwd x11-apps`

/** X's names for keys that have another name in QEMU (keysymdef.h); `f1` is `F1`. */
const keysyms: Readonly<Record<string, string>> = {
  shift: "Shift_L",
  shift_r: "Shift_R",
  alt: "Alt_L",
  alt_r: "Alt_R",
  ctrl: "Control_L",
  ctrl_r: "Control_R",
  meta_l: "Super_L",
  meta_r: "Super_R",
  menu: "Menu",
  compose: "Multi_key",
  caps_lock: "Caps_Lock",
  num_lock: "Num_Lock",
  scroll_lock: "Scroll_Lock",
  esc: "Escape",
  minus: "minus",
  equal: "equal",
  backspace: "BackSpace",
  tab: "Tab",
  bracket_left: "bracketleft",
  bracket_right: "bracketright",
  ret: "Return",
  semicolon: "semicolon",
  apostrophe: "apostrophe",
  grave_accent: "grave",
  backslash: "backslash",
  comma: "comma",
  dot: "period",
  slash: "slash",
  spc: "space",
  less: "less",
  asterisk: "KP_Multiply",
  kp_divide: "KP_Divide",
  kp_multiply: "KP_Multiply",
  kp_subtract: "KP_Subtract",
  kp_add: "KP_Add",
  kp_enter: "KP_Enter",
  kp_decimal: "KP_Decimal",
  kp_equals: "KP_Equal",
  kp_comma: "KP_Separator",
  print: "Print",
  sysrq: "Sys_Req",
  pause: "Pause",
  home: "Home",
  pgup: "Page_Up",
  pgdn: "Page_Down",
  end: "End",
  left: "Left",
  up: "Up",
  down: "Down",
  right: "Right",
  insert: "Insert",
  delete: "Delete",
  power: "XF86PowerOff",
  sleep: "XF86Sleep",
  wake: "XF86WakeUp",
  volumeup: "XF86AudioRaiseVolume",
  volumedown: "XF86AudioLowerVolume",
  audiomute: "XF86AudioMute"
}

const keysym = (key: string): string =>
  keysyms[key] ?? (/^f\d+$/.test(key) ? key.toUpperCase() : key.replace(/^kp_(\d)$/, "KP_$1"))

const buttons: Readonly<Record<Button, number>> = { left: 1, middle: 2, right: 3 }

const wordsOf = (touch: Touch): string =>
  touch._tag === "Move"
    ? `mousemove ${Math.round(touch.to.x)} ${Math.round(touch.to.y)}`
    : `${touch._tag === "Press" ? "mousedown" : "mouseup"} ${buttons[touch.button]}`

/** Between two combinations, by default: xdotool's own. */
const defaultDelay = "12 millis"

/** An X display of a guest. */
export const make = (guest: Guest, display: string): Display => {
  const unavailable = (reason: string, passing = false) =>
    new DisplayUnavailable({
      machine: guest.name,
      reason: `could not use the X display ${display}: ${reason}`,
      passing
    })
  /** Not reported as a command: the method that needs it is reported. */
  const run = (command: string) =>
    Effect.flatMap(guest.shell, (shell) =>
      Effect.flatMap(Deadlines, ({ command: timeout }) =>
        shell.executeBytes(`${environment(display)}\n${command}`, { timeout })
      )
    )
  const reasonOf = ({ exitCode, stderr }: BytesResult) =>
    new TextDecoder().decode(stderr).trim() || `exit code ${exitCode}`
  const xdotool = (words: string, before = "") =>
    Effect.flatMap(run(`need xdotool xdotool\n${before}\nxdotool ${words}`), (result) =>
      result.exitCode === 0 ? Effect.void : Effect.fail(unavailable(reasonOf(result)))
    )
  return {
    name: `the X display ${display}`,
    capture: Effect.gen(function* () {
      const result = yield* run(capture(display))
      // A missing program (127) will not appear.
      if (result.exitCode !== 0) return yield* unavailable(reasonOf(result), result.exitCode !== 127)
      const frame = fromXwd(result.stdout)
      return frame ?? (yield* unavailable("its picture has an unknown format"))
    }),
    // xdotool gives a character that is on no key of the server a key for a moment, which is over before a slow program has read the event.
    american: true,
    press: (combinations: ReadonlyArray<Combination>, delay) => {
      const millis = Math.round(Duration.toMillis(Duration.fromInputUnsafe(delay ?? defaultDelay)))
      const chords = combinations.map((keys) => quote(keys.map(keysym).join("+")))
      return xdotool(`key --clearmodifiers --delay ${millis} ${chords.join(" ")}`)
    },
    touch: (touches) => {
      const words = touches.map((touch) => `${wordsOf(touch)} sleep 0.02`).join(" ")
      const pressed = touches.flatMap((touch) => (touch._tag === "Press" ? [touch.button] : []))[0]
      // Releases the button, or the server would take the next click for the end of this one.
      return xdotool(words, pressed === undefined ? "" : `trap 'xdotool mouseup ${buttons[pressed]}' TERM`)
    }
  }
}
