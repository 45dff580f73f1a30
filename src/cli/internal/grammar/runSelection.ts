/** Options of `vmtest run`: which of the scripts' tests run. */
import * as Flag from "effect/cli/Flag"

export interface Selection {
  /** Only tests whose name contains one of these; empty for all. */
  readonly names: ReadonlyArray<string>
}

export const flags = {
  names: Flag.String("test-name").pipe(
    Flag.withAlias("t"),
    Flag.withMetavar("TEXT"),
    Flag.withDescription("Run only tests whose name contains TEXT; repeat it to select more (default: all tests)"),
    Flag.atLeast(0)
  )
}
