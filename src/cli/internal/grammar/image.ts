/** `vmtest image`: the cached images. */
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import { choose } from "./chosen.ts"
import * as Flags from "./flags.ts"

/** What `vmtest image list` is asked for. */
export interface ImageList {
  readonly _tag: "ImageList"
  readonly json: boolean
}

/** What `vmtest image build` is asked for. */
export interface ImageBuild {
  readonly _tag: "ImageBuild"
  readonly scripts: ReadonlyArray<string>
  readonly refresh: boolean
}

/** What `vmtest image prune` is asked for. */
export interface ImagePrune {
  readonly _tag: "ImagePrune"
  readonly all: boolean
  /** Milliseconds: removes images that have not been used for longer. */
  readonly olderThan: number | undefined
  /** Bytes: removes the least recently used images until the cache is no larger. */
  readonly maxSize: number | undefined
}

const list = Command.make("list", { json: Flags.json }, ({ json }) => choose({ _tag: "ImageList", json })).pipe(
  Command.withDescription("List the cached images with their size, age and last use")
)

const build = Command.make(
  "build",
  {
    scripts: Argument.String("SCRIPT").pipe(
      Argument.withDescription(
        "Scripts, or modules for --machines, whose images to build (default: the tiny and the plain Debian image)"
      ),
      Argument.variadic()
    ),
    refresh: Flags.toggle("refresh", "Rebuild cached images too, from the distribution's current packages")
  },
  ({ refresh, scripts }) => choose({ _tag: "ImageBuild", scripts, refresh })
).pipe(Command.withDescription("Build images before the tests that need them"))

const prune = Command.make(
  "prune",
  {
    all: Flags.toggle("all", "Remove every image"),
    olderThan: Flags.undefinedOr(
      Flags.duration("older-than").pipe(
        Flag.withDescription("Remove images that have not been used for longer than this")
      )
    ),
    maxSize: Flags.undefinedOr(
      Flags.size("max-size").pipe(
        Flag.withDescription("Remove the least recently used images until the cache is no larger than this")
      )
    )
  },
  ({ all, maxSize, olderThan }) => choose({ _tag: "ImagePrune", all, olderThan, maxSize })
).pipe(Command.withDescription("Remove images by age and size, and the remains of interrupted builds"))

export const command = Command.make("image").pipe(
  Command.withDescription("List, build and remove cached guest images"),
  Command.withSubcommands([list, build, prune])
)
