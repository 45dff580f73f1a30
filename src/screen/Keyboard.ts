/**
 * The guest's keyboard.
 *
 * Keys have QEMU's names (`a`, `ret`, `ctrl`, `f1`, `pgup`), and combinations have hyphens: `ctrl-alt-delete`. A character of a US keyboard
 * stands for the keys that type it.
 *
 * **Example** (A login)
 *
 * ```ts
 * yield* box.sendKey("ctrl-alt-f2")
 * yield* box.sendChars("root\n")
 * ```
 *
 * @since 0.1.0
 */
import type * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { guard } from "../guest/Action.ts"
import * as Arguments from "../guest/Arguments.ts"
import type { Guest } from "../guest/Guest.ts"
import type { InvalidArgument } from "../guest/MachineError.ts"
import { Pause } from "../guest/Timeout.ts"
import * as Decode from "../host/Decode.ts"
import * as Fields from "../host/Fields.ts"
import { short } from "../transport/ShellError.ts"
import type { Display, InputError, KeysLost } from "./Display.ts"
import { keyNames, keysOfCharacter, nearestKeys } from "./internal/keys.ts"

export { KeysLost } from "./Display.ts"

/** How fast to press keys. */
export const KeyOptions = Fields.options(
  {
    /**
     * The time between two keys. Default: as fast as the guest takes them if it can be asked (a dozen bytes of key codes at a time), else 50
     * ms. With a delay of your own, nobody checks whether the guest took them.
     */
    delay: Schema.optional(Pause)
  },
  '{ delay: "50 millis" }'
)

/** How fast to press keys. */
export interface KeyOptions extends Schema.Schema.Type<typeof KeyOptions> {}

/** The keyboard of a machine. */
export interface KeyboardMethods {
  /**
   * Presses one key or a combination, such as `"ctrl-alt-delete"`, `"ret"` or `"A"`. For an unknown key the error suggests the nearest ones. A
   * key that the guest did not take is an error, except keys that end the guest or that it does not count: `ctrl-alt-delete`, `power`, `sysrq`.
   */
  readonly sendKey: (key: string, options?: KeyOptions) => Effect.Effect<void, InputError | KeysLost | InvalidArgument>
  /** Types a text on a US keyboard: all printable ASCII characters, `\n` and `\t`. Keys that the guest did not take are an error. */
  readonly sendChars: (
    text: string,
    options?: KeyOptions
  ) => Effect.Effect<void, InputError | KeysLost | InvalidArgument>
}

/** The keys to press together for a key, a combination or a character. */
const keysOf = (key: string): ReadonlyArray<string> => keysOfCharacter.get(key) ?? key.split("-")

const Key = Schema.String.annotate({ expected: 'the name of a key, such as "ret", or a combination' }).check(
  Schema.makeFilter((key: string) => {
    const unknown = keysOf(key).find((name) => !keyNames.has(name))
    if (unknown === undefined) return undefined
    const near = Decode.alternatives(nearestKeys(unknown).map((name) => JSON.stringify(name)))
    return `has the unknown key ${JSON.stringify(unknown)}; did you mean ${near}?`
  })
)

const Typed = Schema.String.check(
  Schema.makeFilter((text: string) => {
    const unknown = [...text].find((character) => !keysOfCharacter.has(character))
    return unknown === undefined
      ? undefined
      : `must have only characters of a US keyboard, got ${JSON.stringify(unknown)}`
  })
)

/** What its methods take. */
export const parameters = Arguments.of<KeyboardMethods>({
  sendKey: Arguments.takes({ key: Key, options: Schema.optional(KeyOptions) }),
  sendChars: Arguments.takes({ text: Typed, options: Schema.optional(KeyOptions) })
})

/** The keyboard methods of a guest. */
export const make = (guest: Guest, display: Display): KeyboardMethods =>
  Arguments.checked<KeyboardMethods>(guest.name, parameters, {
    sendKey: (key, { delay } = {}) => {
      const keys = keysOf(key)
      return guard(
        guest,
        { name: "sendKey", doing: `pressing ${keys.join("-")}`, attributes: { key: keys.join("-") } },
        display.press([keys], delay)
      )
    },
    sendChars: (text, { delay } = {}) =>
      guard(
        guest,
        { name: "sendChars", doing: `typing ${JSON.stringify(short(text))}` },
        display.press([...text].map(keysOf), delay)
      )
  })
