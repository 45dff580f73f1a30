/**
 * XML as text: elements with their attributes, and what they hold escaped. Characters that XML cannot have, such as those that move a terminal's
 * cursor, are left out.
 *
 * **Example** (An element with a text)
 *
 * ```ts
 * Xml.element("line", { machine: "web" }, Xml.text("1 < 2")) // '<line machine="web">1 &lt; 2</line>'
 * ```
 *
 * @since 0.1.0
 */

/** Values of an element's attributes; undefined ones are left out. */
export type Attributes = Readonly<Record<string, string | number | undefined>>

/** Colours and the like, which leave letters behind when only their first character goes. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is taken out
const sequences = /\u001b\[[0-9;?]*[ -/]*[@-~]/g

/** XML 1.0, section 2.2. */
const impossible = /[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\u{10000}-\u{10ffff}]/gu

const entities: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "\n": "&#10;",
  "\r": "&#13;",
  "\t": "&#9;"
}

const escaped = (text: string, what: RegExp) =>
  text
    .replace(sequences, "")
    .replace(impossible, "")
    .replace(what, (one) => entities[one] ?? one)

/** A text between tags. */
export const text = (value: string): string => escaped(value, /[&<>\r]/g)

/** The start tag of an element. */
export const open = (name: string, attributes: Attributes = {}): string => {
  const given = Object.entries(attributes).flatMap(([key, value]) =>
    value === undefined ? [] : [` ${key}="${escaped(String(value), /[&<>"\n\r\t]/g)}"`]
  )
  return `<${name}${given.join("")}>`
}

/** The end tag of an element. */
export const close = (name: string): string => `</${name}>`

/** An element; `content` is XML. */
export const element = (name: string, attributes: Attributes, content: string): string =>
  `${open(name, attributes)}${content}${close(name)}`
