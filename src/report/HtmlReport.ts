/**
 * A report as one page, which needs no network and no other file: the timeline of each test with its machines, steps, consoles and pictures.
 *
 * **Example** (A page of the lines of `--json`)
 *
 * ```ts
 * const page = HtmlReport.page(readFileSync("events.jsonl", "utf8").split("\n"), "my run")
 * ```
 *
 * @since 0.1.0
 */
import * as viewer from "./internal/viewer.ts"

/** What can begin a tag is written in another way in JSON. */
const safe = (line: string) => line.replaceAll("<", "\\u003c")

const escaped = (text: string) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;")

/** The page of records, each of which is a line of JSON. Throws if the viewer is not there, which is so only in a checkout that was not set up. */
export const page = (lines: ReadonlyArray<string>, title: string): string =>
  [
    "<!doctype html>",
    '<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">',
    `<title>${escaped(title)}</title><link rel="icon" href="data:,"></head><body><div id="app"></div>`,
    '<script type="application/x-ndjson" id="records">',
    ...lines.map(safe),
    `</script><script>${viewer.script()}</script></body></html>`,
    ""
  ].join("\n")
