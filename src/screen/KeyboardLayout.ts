/**
 * Keyboard layouts: which keys type which characters.
 *
 * **Example** (The keys of a character)
 *
 * ```ts
 * KeyboardLayout.combinationsOf("de", "ü") // [["bracket_left"]]
 * KeyboardLayout.combinationsOf("de", "ê") // [["grave_accent"], ["e"]]: a dead key, then the letter
 * ```
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import type { Combination } from "./Display.ts"
import { keyNames } from "./internal/keys.ts"
import { accents, alone, type Characters, layouts, levels, positions } from "./internal/layouts.ts"

/** The names of the layouts, which are XKB's. */
export const names = Object.keys(layouts) as ReadonlyArray<keyof typeof layouts>

/** A layout: `"us"`, `"de"`, … */
export const KeyboardLayout = Schema.Literals(names)

/** A layout: `"us"`, `"de"`, … */
export type KeyboardLayout = typeof KeyboardLayout.Type

/** The layout of a machine that declares none; it is also that of Linux itself. */
export const defaultLayout: KeyboardLayout = "us"

/** A character with what types it on one key. */
interface Placed {
  readonly character: string
  readonly key: string
  /** Linux's number of the key. */
  readonly code: number
  readonly level: keyof typeof levels
}

const levelNames = Object.keys(levels) as ReadonlyArray<keyof typeof levels>

/** Every character of a layout, those that take the fewest keys first. */
const placed = (layout: KeyboardLayout): ReadonlyArray<Placed> => {
  const characters: Characters = layouts[layout]
  return levelNames.flatMap((level) =>
    [...(characters[level] ?? "")].flatMap((character, index): ReadonlyArray<Placed> => {
      const [key, code] = positions[index] ?? ["", 0]
      return character === " " ? [] : [{ character, key, code, level }]
    })
  )
}

const others: ReadonlyArray<readonly [string, Combination]> = [
  [" ", ["spc"]],
  ["\n", ["ret"]],
  ["\t", ["tab"]]
]

const tableOf = (layout: KeyboardLayout): ReadonlyMap<string, ReadonlyArray<Combination>> => {
  const table = new Map<string, ReadonlyArray<Combination>>(others.map(([character, keys]) => [character, [keys]]))
  const add = (character: string, combinations: ReadonlyArray<Combination>) => {
    if (!table.has(character)) table.set(character, combinations)
  }
  const all = placed(layout).map((one) => ({ ...one, keys: [...levels[one.level], one.key] }))
  for (const { character, keys } of all) if (accents[character] === undefined) add(character, [keys])
  for (const { character: accent, keys } of all) {
    const sign = alone[accent]
    if (sign !== undefined) add(sign, [keys, ["spc"]])
    for (const letter of accents[accent] ?? "") {
      const second = table.get(letter)
      if (second !== undefined) add(`${letter}${accent}`.normalize("NFC"), [keys, ...second])
    }
  }
  return table
}

const tables = new Map<KeyboardLayout, ReadonlyMap<string, ReadonlyArray<Combination>>>()

const tableFor = (layout: KeyboardLayout) => {
  const table = tables.get(layout) ?? tableOf(layout)
  tables.set(layout, table)
  return table
}

/** The combinations that type a character, one after the other: two where it takes a dead key. Undefined if the layout does not have it. */
export const combinationsOf = (layout: KeyboardLayout, character: string): ReadonlyArray<Combination> | undefined =>
  tableFor(layout).get(character)

/** Every character that can be typed. */
export const charactersOf = (layout: KeyboardLayout): ReadonlyArray<string> => [...tableFor(layout).keys()]

/** The layouts that have a character. */
export const withCharacter = (character: string): ReadonlyArray<KeyboardLayout> =>
  names.filter((layout) => combinationsOf(layout, character) !== undefined)

/**
 * The key of a name in a combination: a letter, a digit or another single character is the key that it is on, any other name that of the key's
 * place on an American keyboard. Undefined if there is no such key.
 */
export const keyOf = (layout: KeyboardLayout, name: string): string | undefined => {
  if ([...name].length !== 1) return keyNames.has(name) ? name : undefined
  const there = placed(layout).filter(({ character }) => character === name)
  const isDigit = /^\d$/.test(name)
  return there.find(({ level }) => level === "plain" || (isDigit && level === "shift"))?.key
}

/** What Linux's console knows of a key: its number, the modifiers as `kbentry.kb_table` counts them, and the value as KDSKBENT takes it. */
export interface ConsoleKey {
  readonly table: number
  readonly code: number
  readonly value: number
}

/** Bits of the tables of a keymap (linux/keyboard.h). */
const [shiftBit, altGrBit, ctrlBit, altBit] = [1, 2, 4, 8]
const tableNumbers = { plain: 0, shift: shiftBit, altGr: altGrBit, shiftAltGr: shiftBit | altGrBit } as const

/** Types of key values: `value = type << 8 | detail` (linux/keyboard.h). */
const [dead, modifier, meta, letter] = [4, 7, 8, 11].map((type) => type << 8) as [number, number, number, number]

/** In the order of `K_DGRAVE`, `K_DACUTE`, … */
const deadKeys = ["\u0300", "\u0301", "\u0302", "\u0303", "\u0308", "\u0327"]

/** Left and right: which modifier they are; each table needs them, or their release is not noticed. */
const modifierKeys: ReadonlyArray<readonly [code: number, detail: number]> = [
  [42, 0],
  [54, 0],
  [100, 1],
  [29, 2],
  [97, 2],
  [56, 3]
]

/** Characters beyond Latin 1 are told from other values by `0xf000`. Caps Lock changes those that are letters. */
const valueOf = (character: string): number => {
  const accent = deadKeys.indexOf(character)
  if (accent >= 0) return dead | accent
  const code = character.codePointAt(0) ?? 0
  if (code > 0xff) return code ^ 0xf000
  return character.toLowerCase() === character.toUpperCase() ? code : letter | code
}

/** A layout as Linux's console takes it, without keys that have no characters. Control and Alt follow the letters. */
export const consoleKeys = (layout: KeyboardLayout): ReadonlyArray<ConsoleKey> => {
  const all = placed(layout)
  const characters = all.map(({ character, code, level }) => ({
    table: tableNumbers[level],
    code,
    value: valueOf(character)
  }))
  const controls = all.flatMap(({ character, code, level }): ReadonlyArray<ConsoleKey> => {
    if (level !== "plain" || !/^[a-z]$/.test(character)) return []
    const plain = character.charCodeAt(0)
    const control = plain & 0x1f
    return [
      { table: ctrlBit, code, value: control },
      { table: shiftBit | ctrlBit, code, value: control },
      { table: altBit, code, value: meta | plain },
      { table: ctrlBit | altBit, code, value: meta | control }
    ]
  })
  const used = new Set([...characters, ...controls].map(({ table }) => table))
  const modifiers = [...used].flatMap((table) =>
    modifierKeys.map(([code, detail]): ConsoleKey => ({ table, code, value: modifier | detail }))
  )
  // A table that is new has no other keys.
  const blanks = [...used]
    .filter((table) => (table & (ctrlBit | altBit)) === 0)
    .flatMap((table): ReadonlyArray<ConsoleKey> => [{ table, code: 57, value: 0x20 }])
  return [...modifiers, ...blanks, ...characters, ...controls]
}
