/**
 * Typing on a PC's own keyboard without losing keys.
 *
 * A PS/2 keyboard buffers 16 bytes. If the guest is busy for longer than it takes to type them, further keys are lost silently, and no delay
 * between keys is long enough on every host. So if the guest has a shell, keys are sent in small groups, each after the guest's interrupt
 * counter shows that it took the last one. Without a shell there is only the delay.
 */
import type * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import type { Guest } from "../../guest/Guest.ts"
import { pausedMessage } from "../../guest/Paused.ts"
import type { QmpService } from "../../transport/qmp/Qmp.ts"
import type { ShellService } from "../../transport/Shell.ts"
import { type Combination, KeysLost } from "../Display.ts"

/** Keys with codes of two bytes: those that the keyboard of 1984 did not have (QEMU's hw/input/ps2.c). */
const extended = new Set(
  "alt_r ctrl_r meta_l meta_r menu compose home pgup pgdn end left up down right insert delete kp_divide kp_enter".split(
    " "
  )
)
/** Keys with longer sequences or none, which cannot be counted. */
const uncounted = new Set("print sysrq pause power sleep wake volumeup volumedown audiomute".split(" "))

/** Bytes, each an interrupt, for pressing and releasing keys; undefined when one of them cannot be counted. */
const bytesOf = (keys: Combination): number | undefined =>
  keys.some((key) => uncounted.has(key)) ? undefined : keys.reduce((sum, key) => sum + (extended.has(key) ? 4 : 2), 0)

const controls = ["ctrl", "ctrl_r"]
const alts = ["alt", "alt_r"]
const deletes = ["delete", "kp_decimal"]

/** After ctrl-alt-delete there is no guest to ask. */
const endsGuest = (keys: Combination): boolean =>
  [controls, alts, deletes].every((names) => keys.some((key) => names.includes(key)))

/** How many of the 16 bytes are used; the rest is for the keyboard's answers to the guest. */
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
 * Prints the number of the keyboard's interrupts whenever it has changed, and ends if there is no such keyboard. The shell itself reads it: a
 * process for each look would take longer than the keys.
 */
const counter = `set +eu
last=
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
  [ -n "$sum" ] || exit 1
  [ "$sum" = "$last" ] || { echo "$sum"; last=$sum; }
done`

/** How long a guest may take for a group of keys before they count as lost; more under emulation. */
const groupTimeout = Duration.seconds(30)

/** After a combination whose arrival cannot be checked, by default. */
const defaultDelay = "50 millis"

/** How long to wait for a shell. */
const shellTimeout = "100 millis"

/** The guest's shell if it answers now, and not while the guest boots or has lost it. */
const readyShell = (guest: Guest): Effect.Effect<ShellService | undefined> =>
  Effect.timeoutOption(guest.shell, shellTimeout).pipe(
    Effect.map((shell) => (shell._tag === "Some" ? shell.value : undefined)),
    Effect.catch(() => Effect.succeed(undefined))
  )

interface Counts {
  /** The next count of at least `target`; `late` if the guest does not reach it in time, `ended` if it stopped counting. */
  readonly reach: (target: number) => Effect.Effect<number | "late" | "ended">
}

/** Follows the keyboard's interrupts until the scope closes. */
const follow = Effect.fnUntraced(function* (shell: ShellService, timeout: Duration.Duration) {
  const said = yield* Queue.unbounded<number, Cause.Done>()
  let pending = ""
  yield* shell.executeStream(counter, { timeout: Duration.infinity }).pipe(
    Stream.runForEach((event) =>
      Effect.sync(() => {
        if (event._tag !== "Stdout") return
        pending += new TextDecoder().decode(event.bytes)
        const lines = pending.split("\n")
        pending = lines.pop() ?? ""
        for (const line of lines) Queue.offerUnsafe(said, Number(line))
      })
    ),
    Effect.ignore,
    Effect.andThen(Queue.end(said)),
    Effect.forkScoped({ startImmediately: true })
  )
  const reach: Counts["reach"] = (target) =>
    Effect.repeat(Queue.take(said), { until: (count) => count >= target }).pipe(
      Effect.timeoutOrElse({ duration: timeout, orElse: () => Effect.succeed("late" as const) }),
      Effect.catch(() => Effect.succeed("ended" as const))
    )
  return { reach } satisfies Counts as Counts
})

const isChildren = Schema.is(Schema.Array(Schema.Struct({ type: Schema.String })))

/** Keyboards that take the keys in place of the PC's own, whose interrupts nobody counts. */
const otherKeyboard = /^child<(usb-kbd|virtio-keyboard)/

/** Whether the machine has another keyboard. */
const hasOtherKeyboard = (control: QmpService): Effect.Effect<boolean> =>
  Effect.forEach(["peripheral", "peripheral-anon"], (name) =>
    control.execute("qom-list", { path: `/machine/${name}` })
  ).pipe(
    Effect.map((found) =>
      found.some((children) => isChildren(children) && children.some(({ type }) => otherKeyboard.test(type)))
    ),
    Effect.orElseSucceed(() => false)
  )

/** Types with a delay after each combination, and does not check that the guest takes them. */
const unchecked = Effect.fnUntraced(function* (
  control: QmpService,
  combinations: ReadonlyArray<Combination>,
  delay: Duration.Input
) {
  for (const keys of combinations) {
    yield* control.execute("send-key", { keys: keys.map((data) => ({ type: "qcode", data })), "hold-time": 20 })
    yield* Effect.sleep(delay)
  }
})

/** Types in groups, each after the guest has taken the last one. */
const checked = Effect.fnUntraced(function* (
  guest: Guest,
  control: QmpService,
  counts: Counts,
  before: number,
  combinations: ReadonlyArray<Combination>
) {
  let taken = before
  let typed = 0
  let since = yield* Clock.currentTimeMillis
  const groups = groupsOf(combinations)
  for (const [index, { bytes, keys }] of groups.entries()) {
    for (const combination of keys) {
      yield* control.execute("input-send-event", { events: eventsOf(combination) })
    }
    const countable = keys.every((combination) => bytesOf(combination) !== undefined)
    if (!countable) yield* Effect.sleep(defaultDelay)
    const now = yield* counts.reach(countable ? taken + bytes : taken + 1)
    // The last keys may have ended the guest.
    if (now === "ended" && index === groups.length - 1) return
    if (typeof now === "string") {
      const waited = Duration.millis((yield* Clock.currentTimeMillis) - since)
      return yield* keysLost(guest, typed, combinations.length, waited)
    }
    typed += keys.length
    taken = now
    since = yield* Clock.currentTimeMillis
  }
})

const keysLost = Effect.fnUntraced(function* (guest: Guest, typed: number, all: number, waited: Duration.Duration) {
  const paused = yield* guest.isPaused
  return yield* new KeysLost({ machine: guest.name, typed, all, waited, ...(paused && { because: pausedMessage }) })
})

/** Types combinations; with a `delay` of the caller, at that pace and unchecked. */
export const type = Effect.fnUntraced(function* (
  guest: Guest,
  control: QmpService,
  combinations: ReadonlyArray<Combination>,
  delay: Duration.Input | undefined
) {
  const cannotCheck =
    delay !== undefined || combinations.some(endsGuest) || combinations.every((keys) => bytesOf(keys) === undefined)
  const shell = cannotCheck || (yield* hasOtherKeyboard(control)) ? undefined : yield* readyShell(guest)
  if (shell === undefined) return yield* unchecked(control, combinations, delay ?? defaultDelay)
  const counts = yield* follow(shell, Duration.times(groupTimeout, guest.backend.timeScale))
  const [took, before] = yield* Effect.timed(counts.reach(0))
  if (typeof before === "string" && (yield* guest.isPaused)) {
    const waited = Duration.millis(Math.round(Duration.toMillis(took)))
    return yield* keysLost(guest, 0, combinations.length, waited)
  }
  if (typeof before === "string") return yield* unchecked(control, combinations, defaultDelay)
  yield* checked(guest, control, counts, before, combinations)
}, Effect.scoped)
