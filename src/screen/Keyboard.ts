/**
 * The guest's keyboard.
 *
 * Keys are named as QEMU names them (`a`, `ret`, `ctrl`, `f1`, `pgup`), and combined with hyphens: `ctrl-alt-delete`. A character of a US
 * keyboard stands for the keys that make it.
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { guard } from "../guest/Action.ts"
import type { Guest } from "../guest/Guest.ts"
import { InvalidArgument } from "../guest/MachineError.ts"
import { kinds, timeOf } from "../guest/Timeout.ts"
import { short } from "../transport/ShellError.ts"
import type { Display, HandError, KeysLost } from "./Display.ts"
import { keyNames, keysOfCharacter, nearestKeys } from "./internal/keys.ts"

export { KeysLost } from "./Display.ts"

/** How fast keys are pressed. */
export interface KeyOptions {
  /**
   * How long after one key the next is pressed. Default: as fast as the guest takes them where it can be asked (a dozen bytes of key
   * codes at a time), else 50 ms. With a delay of your own nobody looks whether the guest took them.
   */
  readonly delay?: Duration.Input
}

/** The keyboard of a machine. */
export interface KeyboardMethods {
  /**
   * Presses one key or a combination, such as `"ctrl-alt-delete"`, `"ret"` or `"A"`. A key that does not exist is refused with the nearest
   * that do. A key that got lost is an error, but for those that end a guest or that no guest counts: `ctrl-alt-delete`, `power`, `sysrq`.
   */
  readonly sendKey: (key: string, options?: KeyOptions) => Effect.Effect<void, HandError | KeysLost | InvalidArgument>
  /** Types a text on a US keyboard: every printable ASCII character, `\n` and `\t`. Keys that got lost are an error. */
  readonly sendChars: (
    text: string,
    options?: KeyOptions
  ) => Effect.Effect<void, HandError | KeysLost | InvalidArgument>
}

/** The keyboard methods of a guest. */
export const make = (guest: Guest, display: Display): KeyboardMethods => {
  const invalid = (argument: string, value: string, reason: string) =>
    new InvalidArgument({ machine: guest.name, argument, value, reason })

  const delayOf = ({ delay }: KeyOptions = {}) =>
    delay === undefined ? Effect.succeed(undefined) : timeOf(guest, kinds.delay, delay)

  return {
    sendKey: Effect.fnUntraced(function* (key, options) {
      const delay = yield* delayOf(options)
      if (typeof key !== "string") return yield* invalid("key", String(key), "is not the name of a key, such as ret")
      const keys = keysOfCharacter.get(key) ?? key.split("-")
      for (const name of keys) {
        if (!keyNames.has(name)) {
          return yield* invalid("key", name, `is not a key; the nearest are ${nearestKeys(name).join(", ")}`)
        }
      }
      yield* guard(
        guest,
        { name: "sendKey", doing: `pressing ${keys.join("-")}`, attributes: { key: keys.join("-") } },
        display.press([keys], delay)
      )
    }),
    sendChars: Effect.fnUntraced(function* (text, options) {
      const delay = yield* delayOf(options)
      if (typeof text !== "string") return yield* invalid("text", String(text), "is not a text")
      const combinations: Array<ReadonlyArray<string>> = []
      for (const character of text) {
        const keys = keysOfCharacter.get(character)
        if (keys === undefined) return yield* invalid("text", character, "is not on a US keyboard")
        combinations.push(keys)
      }
      yield* guard(
        guest,
        { name: "sendChars", doing: `typing ${JSON.stringify(short(text))}` },
        display.press(combinations, delay)
      )
    })
  }
}
