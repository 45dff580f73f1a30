/**
 * The guest's keyboard.
 *
 * Keys are named as QEMU names them (`a`, `ret`, `ctrl`, `f1`, `pgup`), and combined with hyphens: `ctrl-alt-delete`. A character of a US
 * keyboard stands for the keys that make it.
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
import type { Display, HandError, KeysLost } from "./Display.ts"
import { keyNames, keysOfCharacter, nearestKeys } from "./internal/keys.ts"

export { KeysLost } from "./Display.ts"

/** How fast keys are pressed. */
export const KeyOptions = Fields.options(
  {
    /**
     * How long after one key the next is pressed. Default: as fast as the guest takes them where it can be asked (a dozen bytes of key
     * codes at a time), else 50 ms. With a delay of your own nobody looks whether the guest took them.
     */
    delay: Schema.optional(Pause)
  },
  '{ delay: "50 millis" }'
)

/** How fast keys are pressed. */
export interface KeyOptions extends Schema.Schema.Type<typeof KeyOptions> {}

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

/** What is pressed together for a key, a combination or a character. */
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
    return unknown === undefined ? undefined : `must be of characters of a US keyboard, got ${JSON.stringify(unknown)}`
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
