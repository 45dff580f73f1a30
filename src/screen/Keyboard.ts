/**
 * The guest's keyboard.
 *
 * Keys have QEMU's names (`ret`, `ctrl`, `f1`, `pgup`), and combinations have hyphens: `ctrl-alt-delete`. A character of the machine's
 * `keyboardLayout` stands for the keys that type it.
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
import type { Combination, Display, InputError, KeysLost } from "./Display.ts"
import { nearestKeys } from "./internal/keys.ts"
import type { KeyboardLayout } from "./KeyboardLayout.ts"
import * as Layouts from "./KeyboardLayout.ts"

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
  /**
   * Types a text: all characters of the machine's `keyboardLayout`, `\n` and `\t`; on an X display (`xDisplay`), those of the layout `us`. Keys that
   * the guest did not take are an error. A character that the layout does not have is refused, and nothing is typed.
   */
  readonly sendChars: (
    text: string,
    options?: KeyOptions
  ) => Effect.Effect<void, InputError | KeysLost | InvalidArgument>
}

/** The combinations to press one after the other for a key, a combination or a character; `unknown` is the first name of no key. */
const keysOf = (
  layout: KeyboardLayout,
  key: string
): { readonly combinations: ReadonlyArray<Combination>; readonly unknown?: string | undefined } => {
  const typed = Layouts.combinationsOf(layout, key)
  if (typed !== undefined) return { combinations: typed }
  const names = key.split("-")
  const keys = names.map((name) => Layouts.keyOf(layout, name))
  return { combinations: [keys.filter((name) => name !== undefined)], unknown: names[keys.indexOf(undefined)] }
}

const keySchema = (layout: KeyboardLayout) =>
  Schema.String.annotate({ expected: 'the name of a key, such as "ret", or a combination' }).check(
    Schema.makeFilter((key: string) => {
      const { unknown } = keysOf(layout, key)
      if (unknown === undefined) return undefined
      const near = Decode.alternatives(nearestKeys(unknown).map((name) => JSON.stringify(name)))
      return `has the unknown key ${JSON.stringify(unknown)}; did you mean ${near}?`
    })
  )

/** What to do about a character that a layout does not have. */
const advice = (character: string): string => {
  const having = Layouts.withCharacter(character).map((name) => JSON.stringify(name))
  return having.length === 0
    ? "no keyboardLayout has it"
    : `a machine with keyboardLayout ${Decode.alternatives(having)} has it`
}

const textSchema = (layout: KeyboardLayout, american: boolean) =>
  Schema.String.check(
    Schema.makeFilter((text: string) => {
      const unknown = [...text].find((character) => Layouts.combinationsOf(layout, character) === undefined)
      if (unknown === undefined) return undefined
      const wanted = `must have only characters of the keyboard layout ${JSON.stringify(layout)}`
      const reason = american ? "X displays take no others" : advice(unknown)
      return `${wanted}, got ${JSON.stringify(unknown)}; ${reason}`
    })
  )

const parametersOf = (layout: KeyboardLayout, american = false) =>
  Arguments.of<KeyboardMethods>({
    sendKey: Arguments.takes({ key: keySchema(layout), options: Schema.optional(KeyOptions) }),
    sendChars: Arguments.takes({ text: textSchema(layout, american), options: Schema.optional(KeyOptions) })
  })

/** What its methods take on a machine that declares no layout. */
export const parameters = parametersOf(Layouts.defaultLayout)

/** The keyboard methods of a guest with a layout. */
export const make = (guest: Guest, display: Display, declared?: KeyboardLayout | undefined): KeyboardMethods => {
  const american = display.american === true
  const layout = american || declared === undefined ? Layouts.defaultLayout : declared
  return Arguments.checked<KeyboardMethods>(guest.name, parametersOf(layout, american), {
    sendKey: (key, { delay } = {}) =>
      guard(
        guest,
        { name: "sendKey", doing: `pressing ${key === "\n" ? "ret" : key}`, attributes: { key } },
        display.press(keysOf(layout, key).combinations, delay)
      ),
    sendChars: (text, { delay } = {}) =>
      guard(
        guest,
        { name: "sendChars", doing: `typing ${JSON.stringify(short(text))}` },
        display.press(
          [...text].flatMap((character) => Layouts.combinationsOf(layout, character) ?? []),
          delay
        )
      )
  })
}
