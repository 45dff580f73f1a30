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
import { SingleShotGen } from "effect/Utils"
import { silently } from "./fiberEnds.ts"

/** Line and column count from 1. */
export interface Location {
  readonly file: string
  readonly line: number
  readonly column: number
}

const own = fileURLToPath(new URL("../..", import.meta.url))

/** Whether a file is a user's own: not Node's, not a package's, not ours. */
export const isScript = (file: string): boolean =>
  !file.startsWith("node:") && !file.includes("/node_modules/") && !file.startsWith(own) && file.includes("/")

/** The first frame of a stack that is the script's own. Node has mapped the frames of bundled scripts to their sources. */
export const scriptFrame = (stack: string): Location | undefined => {
  for (const [, where, line, column] of stack.matchAll(/^\s+at (?:.*\()?(.+?):(\d+):(\d+)\)?$/gm)) {
    const file = where!.startsWith("file:") ? fileURLToPath(where!) : where!
    if (isScript(file)) return { file, line: Number(line), column: Number(column) }
  }
  return undefined
}

const steps = new WeakMap<object, NodeJS.CallSite>()
/** The step that a fiber was on when it failed, for each reason of its cause, and for the error in it where that is an object. */
const origins = new WeakMap<object, NodeJS.CallSite>()
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
  const site = steps.get(fiber)
  if (site === undefined || Exit.isSuccess(exit)) return
  for (const reason of exit.cause.reasons) {
    for (const key of keysOf(reason)) if (!origins.has(key)) origins.set(key, site)
  }
}

function watchedNext(this: SingleShotGen<unknown, unknown>, value: unknown) {
  const fiber = Fiber.getCurrent()
  if (fiber !== undefined) {
    const site = callSite()
    const name = site?.getFileName()
    if (site !== undefined && name != null && isScript(name.replace("file://", ""))) {
      if (!steps.has(fiber)) fiber.addObserver(silently((exit) => noteOrigin(fiber, exit)))
      steps.set(fiber, site)
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

/** The last step of a script that this fiber took, in the script's own source. */
export const lastStep = (fiber: object): Location | undefined => {
  const site = steps.get(fiber)
  return site === undefined ? undefined : locate(site)
}

/** The step of a script on which a cause came up, in whatever fiber that was. */
export const originOf = (reason: Cause.Reason<unknown>): Location | undefined => {
  const site = keysOf(reason).flatMap((key) => origins.get(key) ?? [])[0]
  return site === undefined ? undefined : locate(site)
}
