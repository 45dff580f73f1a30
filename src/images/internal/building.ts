/** What every step of a build shares: whom it builds for, progress, and tools whose failures become errors of the image. */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Disk from "../../host/Disk.ts"
import type { SpawnOptions, ToolMissing } from "../../host/HostProcess.ts"
import * as HostProcess from "../../host/HostProcess.ts"
import { BuildFailed, DiskFull } from "../ImageError.ts"
import { write } from "./buildLog.ts"

/** A build under way. */
export interface Building {
  /** What messages call the image. */
  readonly image: string
  readonly refresh: boolean
  readonly progress: (step: string, detail?: string) => Effect.Effect<void>
  /** Where all that a tool said goes if it fails. */
  readonly log: string
  /** A folder for what a step makes, on the file system of the store; gone with the scope. */
  readonly workspace: Effect.Effect<string, BuildFailed | DiskFull, Scope.Scope>
}

/** The end of what a tool said that is worth showing: where apt and dpkg say what is wrong. */
const tail = (text: string, lines = 25): string => text.trimEnd().split("\n").slice(-lines).join("\n")

const full = /No space left on device|ENOSPC|Disk quota exceeded|EDQUOT|disk is full/i

/** The error of a step; one that speaks of a full disk is `DiskFull`. */
export const failure = (
  building: Building,
  step: string,
  reason: string,
  said: string,
  path: string
): BuildFailed | DiskFull =>
  full.test(reason) || full.test(said)
    ? new DiskFull({ image: building.image, step, path, said: tail(said, 8) })
    : new BuildFailed({ image: building.image, step, reason, said: tail(said), log: "" })

/** The error of a tool, whose whole output goes into the build's log; `cause` is what of it explains the failure. */
export const toolFailure = Effect.fnUntraced(function* (
  building: Building,
  { path, step }: Pick<Tool, "path" | "step">,
  { output, reason, said }: { readonly output: string; readonly reason: string; readonly said: string }
) {
  const error = failure(building, step, reason, output, path)
  if (error._tag === "DiskFull") return error
  return new BuildFailed({
    image: building.image,
    step,
    reason,
    said: tail(said),
    log: yield* write(building.log, output)
  })
})

/** Work on the host's files that may throw. */
export const attempt = <A>(
  building: Building,
  step: string,
  path: string,
  body: () => A
): Effect.Effect<A, BuildFailed | DiskFull> => Disk.attempt(body, (reason) => failure(building, step, reason, "", path))

/** A tool to run as a step. */
export interface Tool extends Pick<SpawnOptions, "command" | "args" | "cwd" | "env" | "stdin"> {
  readonly step: string
  /** Where it writes: what a full disk is blamed on. */
  readonly path: string
  /** Called with each line the tool says while it runs. */
  readonly onLine?: ((line: string) => Effect.Effect<void>) | undefined
}

/** How a tool ended, whatever its status, and what it said on both of its outputs. */
export interface Said {
  readonly exitCode: number | undefined
  readonly stdout: string
  readonly stderr: string
  readonly status: string
}

/** Package managers call programs of the sbin folders, which an ordinary user's PATH leaves out. */
const path = (): string => `${process.env.PATH ?? "/usr/bin:/bin"}:/usr/local/sbin:/usr/sbin:/sbin`

/** No tool of a build takes this long, unless it hangs. */
const deadline = "30 minutes"

/** Runs a tool to its end, with apt's and dpkg's words in English. All of what it starts ends with it, or with us. */
export const runTool = (
  building: Building,
  tool: Tool
): Effect.Effect<Said, BuildFailed | DiskFull | ToolMissing | HostProcess.SpawnFailed> =>
  Effect.scoped(
    Effect.gen(function* () {
      const child = yield* HostProcess.spawn({
        name: tool.command,
        command: tool.command,
        args: tool.args,
        cwd: tool.cwd,
        env: {
          LC_ALL: "C.UTF-8",
          LANGUAGE: undefined,
          DEBIAN_FRONTEND: "noninteractive",
          TZ: "UTC",
          PATH: path(),
          ...tool.env
        },
        stdin: tool.stdin,
        stdout: "pipe",
        stderr: "pipe",
        wholeGroup: true
      })
      const collect = (stream: typeof child.stdout) => {
        const lines = stream.pipe(Stream.decodeText(), Stream.splitLines)
        return (tool.onLine === undefined ? lines : Stream.tap(lines, tool.onLine)).pipe(
          Stream.runCollect,
          Effect.map((all) => all.join("\n")),
          Effect.mapError((error) => failure(building, tool.step, error.message, "", tool.path))
        )
      }
      const [stdout, stderr, status] = yield* Effect.all([collect(child.stdout), collect(child.stderr), child.exited], {
        concurrency: "unbounded"
      })
      return { exitCode: status.exitCode, stdout, stderr, status: HostProcess.describeStatus(status) }
    })
  ).pipe(
    Effect.timeoutOrElse({
      duration: deadline,
      orElse: () =>
        Effect.fail(failure(building, tool.step, `${tool.command} did not finish within ${deadline}`, "", tool.path))
    })
  )

/** As `runTool`, for a tool that must end with 0. */
export const must = (
  building: Building,
  tool: Tool
): Effect.Effect<Said, BuildFailed | DiskFull | ToolMissing | HostProcess.SpawnFailed> =>
  runTool(building, tool).pipe(
    Effect.flatMap((said) => {
      if (said.exitCode === 0) return Effect.succeed(said)
      const reason = `${tool.command} ended with ${said.status}`
      const output = said.stderr.trim() === "" ? said.stdout : said.stderr
      return Effect.flatMap(toolFailure(building, tool, { output, reason, said: output }), Effect.fail)
    })
  )
