/**
 * The titles of an X server's windows as xwininfo prints them: `_NET_WM_NAME` if there is one, else `WM_NAME`.
 *
 * In a UTF-8 locale it prints UTF-8, and Latin-1 as it is. For the old encoding of everything else, COMPOUND_TEXT, it only prints the name of
 * the encoding, so xprop prints those titles.
 */
import { isUtf8 } from "node:buffer"
import { environment } from "./x11Display.ts"

/** Prints the tree of windows, then the titles that are missing in it, each after its window's id. */
export const list = (display: string) => `${environment(display)}
export LC_ALL=C.UTF-8
need xwininfo x11-utils
tree=$(xwininfo -root -tree) || exit
printf '%s\\n' "$tree"
command -v xprop >/dev/null || exit 0
printf '%s\\n' "$tree" | while read -r id name; do
  case $name in
    "(name in unsupported encoding"*) printf '%s ' "$id"; xprop -notype -id "$id" WM_NAME || echo ;;
  esac
done`

/** Lines that are UTF-8, or else Latin-1. */
const decoded = (bytes: Uint8Array): string => {
  const lines = Buffer.from(bytes).toString("latin1").split("\n")
  return lines
    .map((line) => {
      const raw = Buffer.from(line, "latin1")
      return isUtf8(raw) ? raw.toString() : line
    })
    .join("\n")
}

/** `0x1200007 "xterm": ("xterm" "XTerm")  484x316+0+0  +0+0`: a title may contain anything, so the end of the line is matched too. */
const windows =
  /^ *(0x[0-9a-f]+) (?:"([\s\S]*?)"|\(name in unsupported encoding .*?\)): \((?:".*")?\) {2}\d+x\d+[+-].*$/gm

/** `0x1200007 WM_NAME = "Gr\303\266\303\237e"`; xprop escapes what the locale cannot print. */
const fromXprop = /^(0x[0-9a-f]+) WM_NAME = "(.*)"$/gm

const escapes: Readonly<Record<string, string>> = { n: "\n", t: "\t" }
const unescaped = (text: string): string =>
  text.replace(/((?:\\[0-7]{3})+)|\\(.)/g, (_, octals: string | undefined, letter: string) => {
    if (octals === undefined) return escapes[letter] ?? letter
    // The bytes of one character are escaped separately.
    const raw = Buffer.from(
      octals
        .slice(1)
        .split("\\")
        .map((octal) => Number.parseInt(octal, 8))
    )
    return raw.toString(isUtf8(raw) ? "utf8" : "latin1")
  })

/** The titles in the output of {@link list}, in xwininfo's order. */
export const titlesOf = (said: Uint8Array): ReadonlyArray<string> => {
  const text = decoded(said)
  const others = new Map(Array.from(text.matchAll(fromXprop), ([, id, title = ""]) => [id, unescaped(title)]))
  return Array.from(text.matchAll(windows), ([, id, title]) => title ?? others.get(id)).filter(
    (title) => title !== undefined
  )
}
