/** Where a host takes its Debian packages from: sources.list(5), both the one-line and the deb822 kind. */
import * as Fs from "node:fs"
import * as Path from "node:path"

/** One archive of one suite. */
export interface Source {
  readonly uri: string
  readonly suite: string
  readonly components: ReadonlyArray<string>
  /** As configured; undefined when apt's own trusted keys are meant. */
  readonly signedBy: string | undefined
}

/** `deb [arch=amd64 signed-by=/key] http://mirror/debian bookworm main contrib` */
export const parseOneLine = (text: string): Array<Source> =>
  text.split("\n").flatMap((raw) => {
    const line = raw.replace(/#.*/, "").trim()
    const match = /^deb\s+(?:\[([^\]]*)\]\s+)?(\S+)\s+(\S+)\s*(.*)$/.exec(line)
    if (match === null) return []
    const [, options = "", uri = "", suite = "", components = ""] = match
    return [{ uri, suite, components: words(components), signedBy: /(?:^|\s)signed-by=(\S+)/i.exec(options)?.[1] }]
  })

/** Stanzas of `Key: value`, where a line that starts with a blank continues the one before. */
export const parseDeb822 = (text: string): Array<Source> =>
  text
    .split("\n")
    .filter((line) => !line.startsWith("#"))
    .join("\n")
    .split(/\n\s*\n/)
    .flatMap((stanza) => {
      const fields = new Map<string, string>()
      for (const [, key = "", value = ""] of stanza.matchAll(/^([^\s:]+):((?:.*)(?:\n[ \t].*)*)/gm)) {
        fields.set(key.toLowerCase(), value.trim())
      }
      const field = (name: string) => words(fields.get(name) ?? "")
      if (!field("types").includes("deb") || /^(no|false|0|off)$/i.test(fields.get("enabled") ?? "yes")) return []
      const key = fields.get("signed-by")
      return field("uris").flatMap((uri) =>
        field("suites").map((suite) => ({ uri, suite, components: field("components"), signedBy: key }))
      )
    })

const words = (text: string): Array<string> => text.split(/\s+/).filter((word) => word !== "")

/** Everything that is configured below a folder such as /etc/apt. A file that cannot be read has nothing to say. */
export const readHostSources = (folder: string): Array<Source> => {
  const parts = Path.join(folder, "sources.list.d")
  const names = Fs.existsSync(parts) ? Fs.readdirSync(parts).sort() : []
  return [Path.join(folder, "sources.list"), ...names.map((name) => Path.join(parts, name))].flatMap((path) => {
    if (Fs.statSync(path, { throwIfNoEntry: false })?.isFile() !== true) return []
    const text = Fs.readFileSync(path, "utf8")
    if (path.endsWith(".sources")) return parseDeb822(text)
    return path.endsWith(".list") ? parseOneLine(text) : []
  })
}

/** What Debian's own suites are called; others in a host's list (a vendor's, for example) are not looked at. */
const suites = new Set([
  ...["stable", "oldstable", "oldoldstable", "testing", "unstable", "sid", "stretch", "buster", "bullseye"],
  ...["bookworm", "trixie", "forky", "duke"]
])

/** Where a suite comes from. */
export interface Mirrors {
  readonly main: string
  /** Security updates have an archive of their own; undefined where the host does not use it. */
  readonly security: string | undefined
  /** Whether the host takes `<suite>-updates`. */
  readonly updates: boolean
}

/**
 * Debian's mirrors among all that a host has, whichever suite the host itself runs. Vendors too call their suites
 * `stable` and their components `main`: an archive that names Debian's keys goes before one whose address ends in
 * `/debian`, and that before the rest; an archive with another key is out.
 */
export const debianMirrors = (sources: ReadonlyArray<Source>): Mirrors | undefined => {
  const usable = sources.filter(
    ({ components, signedBy, uri }) =>
      components.includes("main") &&
      /^(https?|mirror|mirror\+\w+|tor\+https?):/.test(uri) &&
      (signedBy === undefined || signedBy.includes("debian-archive"))
  )
  const rank = ({ signedBy, uri }: Source): number =>
    signedBy !== undefined ? 0 : /\/debian\/?$/.test(uri) || uri.startsWith("mirror") ? 1 : 2
  const best = (wanted: (suite: string) => boolean): Source | undefined =>
    usable.filter(({ suite }) => wanted(suite)).sort((a, b) => rank(a) - rank(b))[0]
  const base = (suite: string, tail: RegExp): boolean => tail.test(suite) && suites.has(suite.replace(tail, ""))
  const main = best((suite) => suites.has(suite))
  if (main === undefined) return undefined
  return {
    main: main.uri,
    security: best((suite) => base(suite, /(-security|\/updates)$/))?.uri,
    updates: usable.some(({ suite }) => base(suite, /-updates$/))
  }
}

/** The deb822 text for one suite from these mirrors, with this keyring. `sid` and `testing` have neither updates nor security. */
export const sourcesText = (mirrors: Mirrors, suite: string, keyring: string): string => {
  const rolling = suite === "sid" || suite === "unstable"
  const stanza = (uri: string, names: ReadonlyArray<string>) =>
    ["Types: deb", `URIs: ${uri}`, `Suites: ${names.join(" ")}`, "Components: main", `Signed-By: ${keyring}`, ""].join(
      "\n"
    )
  return [
    stanza(mirrors.main, mirrors.updates && !rolling ? [suite, `${suite}-updates`] : [suite]),
    ...(mirrors.security === undefined || rolling ? [] : [stanza(mirrors.security, [`${suite}-security`])])
  ].join("\n")
}
