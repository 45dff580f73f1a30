/**
 * Which line of a script a fiber is on.
 *
 * An Effect that fails with a plain value carries no stack, and one that fails deep in the library carries only the library's. So while a
 * run is watched, each `yield*` of a script notes its own place: `yield*` asks the Effect's iterator for its first value while the
 * script's generator is on the stack, one frame up.
 */
import { findSourceMap } from "node:module"
import { fileURLToPath } from "node:url"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Predicate from "effect/Predicate"
import { SingleShotGen } from "effect/Utils"
import type { Location } from "../../host/Location.ts"
import * as OwnFiles from "../../host/OwnFiles.ts"
import { silently } from "./fiberEnds.ts"

/** Whether a file is a user's own: not Node's, not a package's, not ours. */
export const isScript = (file: string): boolean =>
  !file.startsWith("node:") && !file.includes("/node_modules/") && !OwnFiles.has(file) && file.includes("/")

const framePattern = /^\s+at (?:async )?(?:.*\()?(.+?):(\d+):(\d+)\)?$/

/** The frames of a stack that are the script's own, innermost first. Node has mapped the frames of bundled scripts to their sources. */
export const scriptFrames = (stack: string): ReadonlyArray<Location> =>
  stack.split("\n").flatMap((frame) => {
    const [, where, line, column] = framePattern.exec(frame) ?? []
    if (where === undefined) return []
    const file = where.startsWith("file:") ? fileURLToPath(where) : where
    return isScript(file) ? [{ file, line: Number(line), column: Number(column) }] : []
  })

/** Whether the last frame of a stack that is the script's own is that of a generator, which something else went on with. */
export const endsInGenerator = (stack: string): boolean => {
  const frames = stack.split("\n")
  const last = frames.findLastIndex((frame) => scriptFrame(frame) !== undefined)
  return frames[last + 1]?.includes("next (<anonymous>)") === true
}

/** The first frame of a stack that is the script's own. */
export const scriptFrame = (stack: string): Location | undefined => scriptFrames(stack)[0]

/** A generator of a script at one of its `yield*`. */
interface Step {
  readonly site: NodeJS.CallSite
  /** How much the fiber had to go on with below this generator; the generator is put there when it waits. */
  readonly depth: number
  /** The generator, once it waits for another one. */
  iterator: unknown
}

/** The generators of a fiber, the outermost first: each but the last waits for the next one. */
type Trail = ReadonlyArray<Step>

const trails = new WeakMap<object, Trail>()
/** The steps that a fiber was on when it failed, for each reason of its cause, and for the error in it where that is an object. */
const origins = new WeakMap<object, Trail>()
let watchers = 0

const plainNext = SingleShotGen.prototype.next

/** The frame that called `next`, without the cost of a formatted stack. */
const callSite = (): NodeJS.CallSite | undefined => {
  const { prepareStackTrace, stackTraceLimit } = Error
  const holder: { stack?: ReadonlyArray<NodeJS.CallSite> } = {}
  Error.stackTraceLimit = 1
  Error.prepareStackTrace = (_, sites) => sites
  Error.captureStackTrace(holder, watchedNext)
  const site = holder.stack?.[0]
  Error.prepareStackTrace = prepareStackTrace
  Error.stackTraceLimit = stackTraceLimit
  return site
}

const pathOf = (site: NodeJS.CallSite): string => {
  const name = site.getFileName() ?? ""
  return name.startsWith("file:") ? fileURLToPath(name) : name
}

/** What a reason of a cause stays known by: itself, and its error where that is an object. */
const keysOf = (reason: Cause.Reason<unknown>): ReadonlyArray<object> => {
  const value = Cause.isFailReason(reason) ? reason.error : Cause.isDieReason(reason) ? reason.defect : undefined
  return typeof value === "object" && value !== null ? [reason, value] : [reason]
}

/** A cause goes from fiber to fiber; the first that fails with it is where it comes from. */
const noteOrigin = (fiber: object, exit: Exit.Exit<unknown, unknown>) => {
  const trail = trails.get(fiber)
  if (trail === undefined || Exit.isSuccess(exit)) return
  for (const reason of exit.cause.reasons) {
    for (const key of keysOf(reason)) if (!origins.has(key)) origins.set(key, trail)
  }
}

/** Has an observer hear of a fiber's end before those who wait for it, and go on with its cause at once. */
const hearFirst = (fiber: Fiber.Fiber<unknown, unknown>, observer: (exit: Exit.Exit<unknown, unknown>) => void) => {
  fiber.addObserver(silently(observer))
  const observers: unknown = Reflect.get(fiber, "_observers")
  if (Array.isArray(observers)) observers.unshift(observers.pop())
}

/** What the fiber goes on with, from the last to the next. Effect has no public word for it; without it only the innermost step is known. */
const stackOf = (fiber: object): ReadonlyArray<unknown> => {
  const stack: unknown = Reflect.get(fiber, "_stack")
  return Array.isArray(stack) ? stack : []
}

/** The steps whose generators still wait where they began to: for what runs now. */
const waiting = (trail: Trail, stack: ReadonlyArray<unknown>): Trail =>
  trail.filter((step) => {
    const there = step.depth < stack.length ? stack[step.depth] : undefined
    const iterator = Predicate.hasProperty(there, "iterator") ? there.iterator : undefined
    step.iterator ??= iterator
    return iterator !== undefined && iterator === step.iterator
  })

function watchedNext(this: SingleShotGen<unknown, unknown>, value: unknown) {
  const fiber = Fiber.getCurrent()
  if (fiber !== undefined) {
    const site = callSite()
    const name = site?.getFileName()
    if (site !== undefined && name != null && isScript(name.replace("file://", ""))) {
      const before = trails.get(fiber)
      if (before === undefined) hearFirst(fiber, (exit) => noteOrigin(fiber, exit))
      const stack = stackOf(fiber)
      trails.set(fiber, [...waiting(before ?? [], stack), { site, depth: stack.length, iterator: undefined }])
    }
  }
  return plainNext.call(this, value)
}

/** Notes the steps of scripts while the effect runs. */
export const watch = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.acquireUseRelease(
    Effect.sync(() => {
      watchers += 1
      SingleShotGen.prototype.next = watchedNext
    }),
    () => effect,
    () =>
      Effect.sync(() => {
        watchers -= 1
        if (watchers === 0) SingleShotGen.prototype.next = plainNext
      })
  )

const locate = (site: NodeJS.CallSite): Location => {
  const name = site.getFileName() ?? ""
  const line = site.getLineNumber() ?? 1
  const column = site.getColumnNumber() ?? 1
  const origin = findSourceMap(name)?.findOrigin(line, column)
  if (origin !== undefined && "fileName" in origin) {
    return {
      file: origin.fileName.startsWith("file:") ? fileURLToPath(origin.fileName) : origin.fileName,
      line: origin.lineNumber,
      column: origin.columnNumber
    }
  }
  return { file: pathOf(site), line, column }
}

const located = (trail: Trail | undefined): ReadonlyArray<Location> =>
  trail === undefined ? [] : trail.map(({ site }) => locate(site)).reverse()

/** The last step of a script that this fiber took, in the script's own source, and then those that waited for it, the innermost first. */
export const stepsOf = (fiber: object): ReadonlyArray<Location> => located(trails.get(fiber))

/** The steps of a script on which a cause came up, in whatever fiber that was, the innermost first. */
export const originOf = (reason: Cause.Reason<unknown>): ReadonlyArray<Location> =>
  located(keysOf(reason).flatMap((key) => [origins.get(key) ?? []].filter((trail) => trail.length > 0))[0])
