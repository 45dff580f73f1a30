/** Options of `vmtest run`: reports in files. */
import * as Flag from "effect/cli/Flag"
import * as Flags from "./flags.ts"

export interface Reports {
  /** The file for the report in JUnit's XML. */
  readonly junit: string | undefined
  /** The file for all events, as JSON lines. */
  readonly json: string | undefined
  /** The file for the report as a page. */
  readonly html: string | undefined
}

const file = (name: string, description: string) =>
  Flags.undefinedOr(Flags.path(name, "file").pipe(Flag.withDescription(description)))

export const flags = {
  junit: file("junit", "Write a report in JUnit's XML to FILE (default: none)"),
  json: file("json", "Write everything that happens to FILE as JSON lines, for 'vmtest report' (default: none)"),
  html: file(
    "html",
    "Write a page with the timeline of each test to FILE, which a browser shows without network (default: none)"
  )
}
