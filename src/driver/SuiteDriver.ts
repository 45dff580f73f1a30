/**
 * What suites of other tools do with the driver of several tests: forks of its machines for each test, and what the machines of a failed test said.
 *
 * **Example** (Each test on a fork of its own)
 *
 * ```ts
 * const fork = yield* SuiteDriver.base(yield* Driver)
 * yield* fork(({ web }) => web!.succeed("echo one"))
 * yield* fork(({ web }) => web!.succeed("echo two"))
 * ```
 *
 * @since 0.1.0
 */
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as OutputFolder from "../host/OutputFolder.ts"
import type { Machine } from "../machine/Machine.ts"
import type { Handle } from "../machine/MachineTree.ts"
import type { Driver, DriverService, ForkError } from "./Driver.ts"
import * as GatherEvidence from "./internal/gatherEvidence.ts"
import { folderName } from "./internal/keepLogs.ts"

/** Runs an effect on forks of all machines, as `DriverService.fork` does. */
export type Fork = <A, E, R>(
  body: (machines: Readonly<Record<string, Machine>>, driver: DriverService) => Effect.Effect<A, E, R>
) => Effect.Effect<A, E | ForkError, Exclude<R, Driver | Scope.Scope>>

/** What a driver is made of, as far as suites need it. */
export interface Parts {
  /** Saves the machines, until the scope closes, and gives what forks them as they were. */
  readonly base: Effect.Effect<Fork, ForkError, Scope.Scope>
  readonly handles: () => ReadonlyArray<Handle>
  /** Its output folder, with its full path. */
  readonly output: string
}

const known = new WeakMap<DriverService, Parts>()

/** Notes the parts of a driver. */
export const note = (driver: DriverService, parts: Parts): void => void known.set(driver, parts)

/**
 * Saves all machines of a driver as they are now, and gives what runs effects on forks of that: each begins with the machines as they were saved,
 * which takes well under a second. What was saved is removed when the scope closes.
 */
export const base = (driver: DriverService): Effect.Effect<Fork, ForkError, Scope.Scope> => {
  const parts = known.get(driver)
  return parts === undefined ? Effect.succeed<Fork>(driver.fork) : parts.base
}

/** The folder of a test below the output folder of its driver; `names` are those of the suites around it, and its own. */
export const folderOf = (driver: DriverService, names: ReadonlyArray<string>): string =>
  Path.join(known.get(driver)?.output ?? Path.resolve("vmtest-output"), ...names.map((name) => folderName(name)))

/** Writes the console of a machine to `<folder>/<machine>/console.log`. */
const consoleOf = ({ machine, spec }: Handle, folder: string) =>
  Effect.gen(function* () {
    const log = yield* machine.getConsoleLog()
    if (log === "") return
    const file = Path.join(folder, spec.name, "console.log")
    yield* OutputFolder.place(folder, file, (place) => Fs.writeFileSync(place, log))
  })

/**
 * Writes what the machines of a driver say to the folder of a test that has failed: their consoles, their journals and pictures of their screens.
 * Gives whether there is anything. It takes 10 seconds at most, and never fails.
 */
export const keep = (driver: DriverService, folder: string): Effect.Effect<boolean> =>
  Effect.gen(function* () {
    const parts = known.get(driver)
    if (parts === undefined) return false
    const handles = parts.handles()
    const consoles = Effect.forEach(handles, (handle) => Effect.ignore(consoleOf(handle, folder)), { discard: true })
    const others = GatherEvidence.gather(handles, folder, Path.relative(parts.output, folder))
    yield* Effect.all([Effect.timeoutOption(consoles, GatherEvidence.within), others], { concurrency: "unbounded" })
    return yield* OutputFolder.holdsFiles(folder)
  })
