/**
 * Typing on a PC's own keyboard, so that no key is lost.
 *
 * A PS/2 keyboard remembers 16 bytes. A guest that is busy for longer than it takes to type them loses what comes after, silently;
 * no delay between keys is long enough for every host. So, where the guest has a shell, keys go in small groups and the next group
 * waits until the guest's interrupt counter says that the last one was taken. Without a shell there is only the delay.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { QmpService } from "../../transport/Qmp.ts"
import type { ShellService } from "../../transport/Shell.ts"
import { type Combination, DisplayUnavailable } from "./display.ts"
import type { Guest } from "./Guest.ts"

/** Keys whose codes are two bytes: those that the keyboard of 1984 did not have (QEMU's hw/input/ps2.c). */
const extended = new Set(
  "alt_r ctrl_r meta_l meta_r menu compose home pgup pgdn end left up down right insert delete kp_divide kp_enter".split(
    " "
  )
)
/** Longer sequences, or none at all: not to be counted. */
const uncounted = new Set("print sysrq pause power sleep wake volumeup volumedown audiomute".split(" "))

/** Bytes, each an interrupt, for pressing and releasing keys; undefined when one of them cannot be counted. */
const bytesOf = (keys: Combination): number | undefined =>
  keys.some((key) => uncounted.has(key)) ? undefined : keys.reduce((sum, key) => sum + (extended.has(key) ? 4 : 2), 0)

/** Of the 16 that the keyboard remembers; the rest is for what the guest itself says to the keyboard. */
const groupBytes = 12

const groupsOf = (combinations: ReadonlyArray<Combination>): Array<{ keys: Array<Combination>; bytes: number }> => {
  const groups: Array<{ keys: Array<Combination>; bytes: number }> = []
  for (const keys of combinations) {
    const bytes = bytesOf(keys) ?? groupBytes
    const last = groups.at(-1)
    if (last !== undefined && last.bytes + bytes <= groupBytes) {
      last.keys.push(keys)
      last.bytes += bytes
    } else groups.push({ keys: [keys], bytes })
  }
  return groups
}

const event = (key: string, down: boolean) => ({
  type: "key",
  data: { down, key: { type: "qcode", data: key } }
})

const eventsOf = (keys: Combination) => [
  ...keys.map((key) => event(key, true)),
  ...[...keys].reverse().map((key) => event(key, false))
]

/**
 * Prints how many interrupts the keyboard has made, once it is at least so many; after some thousand looks, whatever it is. With 0 it
 * prints at once; nothing when there is no such keyboard.
 */
const counter = (target: number) => `set +eu
look=0
while :; do
  sum=
  while read -r irq counts; do
    if [ "$irq" = 1: ]; then
      sum=0
      for word in $counts; do
        case $word in *[!0-9]*) break ;; esac
        sum=$((sum + word))
      done
      break
    fi
  done </proc/interrupts
  [ -n "$sum" ] || break
  look=$((look + 1))
  if [ "$sum" -ge ${target} ] || [ $look -gt 3000 ]; then break; fi
done
echo "$sum"`

/** How long a guest may take for twelve keys before they count as lost. */
const patience = "30 seconds"

const defaultDelay = "50 millis"

/** A shell that answers now; none while the guest boots, or has lost it. */
const readyShell = (guest: Guest): Effect.Effect<ShellService | undefined> =>
  Effect.timeoutOption(guest.shell, "100 millis").pipe(
    Effect.map((shell) => (shell._tag === "Some" ? shell.value : undefined)),
    Effect.catch(() => Effect.succeed(undefined))
  )

/** How many interrupts there were; undefined when that cannot be known. */
const interrupts = (shell: ShellService, target: number): Effect.Effect<number | undefined> =>
  shell.execute(counter(target), { timeout: patience }).pipe(
    Effect.map(({ stdout }) => (/^\d+\s*$/.test(stdout) ? Number(stdout) : undefined)),
    Effect.catch(() => Effect.succeed(undefined))
  )

const plain = Effect.fnUntraced(function* (
  control: QmpService,
  combinations: ReadonlyArray<Combination>,
  delay: Duration.Input
) {
  for (const keys of combinations) {
    yield* control.execute("send-key", { keys: keys.map((data) => ({ type: "qcode", data })), "hold-time": 20 })
    yield* Effect.sleep(delay)
  }
})

/** Types combinations; with a `delay` of the caller's own, just at that pace. */
export const type = Effect.fnUntraced(function* (
  guest: Guest,
  control: QmpService,
  combinations: ReadonlyArray<Combination>,
  delay: Duration.Input | undefined
) {
  // One combination always fits; and ctrl-alt-delete leaves nobody to ask.
  const shell = delay !== undefined || combinations.length < 2 ? undefined : yield* readyShell(guest)
  const before = shell === undefined ? undefined : yield* interrupts(shell, 0)
  if (shell === undefined || before === undefined) {
    return yield* plain(control, combinations, delay ?? defaultDelay)
  }
  let taken = before
  for (const { bytes, keys } of groupsOf(combinations)) {
    const wanted = taken + bytes
    const countable = keys.every((combination) => bytesOf(combination) !== undefined)
    for (const combination of keys) {
      yield* control.execute("input-send-event", { events: eventsOf(combination) })
    }
    if (!countable) yield* Effect.sleep(defaultDelay)
    const now = yield* interrupts(shell, countable ? wanted : 0)
    if (now === undefined) {
      yield* Effect.sleep(Duration.millis(500))
    } else if (countable && now < wanted) {
      return yield* new DisplayUnavailable({
        machine: guest.name,
        reason: `keys were lost: its keyboard sent ${bytes} bytes, and the guest took ${now - taken}`
      })
    }
    taken = now ?? wanted
  }
})
