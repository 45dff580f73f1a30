/** Options of `vmtest run`: which of the scripts' tests run. */
import * as Flag from "effect/cli/Flag"
import * as Option from "effect/Option"
import * as Flags from "./flags.ts"

/** A part of a run, from 1 to `of`. */
export interface Shard {
  readonly index: number
  readonly of: number
}

export interface Selection {
  /** Only tests whose name or tags match one of these; empty for all. */
  readonly names: ReadonlyArray<string>
  /** Whether to run only tests that failed in the last run. */
  readonly onlyFailed: boolean
  readonly shard: Shard | undefined
  /** The file of recorded durations that shards are balanced by. */
  readonly durations: string | undefined
  /** How often each test runs. */
  readonly repeatEach: number | undefined
  /** Whether `test.only` is an error. Default: on CI systems. */
  readonly forbidOnly: boolean | undefined
  /** Whether to print the tests instead of running them. */
  readonly list: boolean
  /** The same, as JSON. */
  readonly listJson: boolean
}

const shardOf = (text: string): Option.Option<Shard> => {
  const [, index, of] = /^(\d+)\/(\d+)$/.exec(text) ?? []
  const shard = { index: Number(index), of: Number(of) }
  return shard.index >= 1 && shard.index <= shard.of ? Option.some(shard) : Option.none()
}

export const flags = {
  names: Flag.String("grep").pipe(
    Flag.withAlias("t"),
    Flag.withMetavar("TEXT"),
    Flag.withDescription(
      "Run only tests whose name contains TEXT, that have the tag @TEXT, or whose name and tags match /TEXT/; '!TEXT' leaves such tests out; repeat it to select more (default: all tests)"
    ),
    Flag.filter(
      (text) => text !== "" && text !== "!",
      () => "a text of the names, a tag or a pattern"
    ),
    Flag.atLeast(0)
  ),
  onlyFailed: Flags.toggle("only-failed", "Run only the tests that failed in the last run with this output folder"),
  shard: Flags.undefinedOr(
    Flag.String("shard").pipe(
      Flag.withMetavar("I/N"),
      Flag.withDescription(
        "Run the I-th of N parts of the tests, balanced by the durations that an earlier run without --shard recorded; all parts together are all tests"
      ),
      Flag.filterMap(shardOf, () => "a part and the number of parts, such as 1/3")
    )
  ),
  durations: Flags.undefinedOr(
    Flags.path("durations", "file").pipe(
      Flag.withDescription(
        "The file of recorded durations, the same on every host of --shard (default: in the cache folder, for each output folder)"
      )
    )
  ),
  repeatEach: Flags.undefinedOr(
    Flags.count("repeat-each").pipe(Flag.withDescription("Run each test N times (default: once)"))
  ),
  forbidOnly: Flags.choice(
    "forbid-only",
    "Fail if a test is declared with test.only (default: on CI systems, CI=true)"
  ),
  list: Flags.toggle("list", "Print the tests instead of running them"),
  listJson: Flags.toggle("list-json", "Print the tests as JSON instead of running them")
}
