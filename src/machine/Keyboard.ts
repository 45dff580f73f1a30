/**
 * The guest's keyboard.
 *
 * Keys are named as QEMU names them (`a`, `ret`, `ctrl`, `f1`, `page_up`), and combined with hyphens: `ctrl-alt-delete`.
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { type ControlMethods, onControl } from "./Control.ts"
import type { Guest } from "./internal/Guest.ts"
import { keyNames, keysOfCharacter } from "./internal/keys.ts"
import { InvalidArgument } from "./MachineError.ts"

type KeyFailure = Effect.Error<ReturnType<ControlMethods["sendMonitorCommand"]>> | InvalidArgument

/** How fast keys are pressed. */
export interface KeyOptions {
  /** How long after one key the next is pressed. Default 50 ms: less and a slow guest loses some. */
  readonly delay?: Duration.Input
}

/** The keyboard of a machine. */
export interface KeyboardMethods {
  /** Presses one key or a combination, such as `"ctrl-alt-delete"`. A key that does not exist is refused with the nearest that do. */
  readonly sendKey: (key: string, options?: KeyOptions) => Effect.Effect<void, KeyFailure>
  /** Types a text on a US keyboard: every printable ASCII character, `\n` and `\t`. */
  readonly sendChars: (text: string, options?: KeyOptions) => Effect.Effect<void, KeyFailure>
}

const distance = (a: string, b: string): number => {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index)
  for (let i = 1; i <= a.length; i++) {
    const next = [i]
    for (let j = 1; j <= b.length; j++) {
      next.push(Math.min(row[j]! + 1, next[j - 1]! + 1, row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1)))
    }
    row = next
  }
  return row[b.length]!
}

const nearest = (key: string): string =>
  [...keyNames]
    .sort((a, b) => distance(key, a) - distance(key, b))
    .slice(0, 3)
    .join(", ")

/** The keyboard methods of a guest. */
export const make = (guest: Guest): KeyboardMethods => {
  const invalid = (argument: string, value: string, reason: string) =>
    new InvalidArgument({ machine: guest.name, argument, value, reason })

  const press = Effect.fnUntraced(function* (combinations: ReadonlyArray<ReadonlyArray<string>>, options?: KeyOptions) {
    for (const keys of combinations) {
      yield* onControl(guest, `pressing ${keys.join("-")}`, (control) =>
        control.execute("send-key", { keys: keys.map((data) => ({ type: "qcode", data })), "hold-time": 20 })
      )
      yield* Effect.sleep(options?.delay ?? "50 millis")
    }
  })

  return {
    sendKey: Effect.fnUntraced(function* (key, options) {
      const keys = key === "-" ? ["minus"] : key.split("-")
      for (const name of keys) {
        if (!keyNames.has(name)) return yield* invalid("key", name, `is not a key; the nearest are ${nearest(name)}`)
      }
      yield* press([keys], options)
    }),
    sendChars: Effect.fnUntraced(function* (text, options) {
      const combinations: Array<ReadonlyArray<string>> = []
      for (const character of text) {
        const keys = keysOfCharacter.get(character)
        if (keys === undefined) return yield* invalid("text", character, "is not on a US keyboard")
        combinations.push(keys)
      }
      yield* press(combinations, options)
    })
  }
}
