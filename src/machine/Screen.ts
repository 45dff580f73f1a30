/**
 * The guest's display.
 *
 * @since 0.1.0
 */
import * as Path from "node:path"
import * as Effect from "effect/Effect"
import type { ControlMethods } from "./Control.ts"
import { onControl } from "./Control.ts"
import { HostFileError } from "./Copy.ts"
import type { Guest } from "./internal/Guest.ts"

/** The display of a machine. */
export interface ScreenMethods {
  /** Takes a picture of the display into the output folder, as `<name>.png`, and gives its path. Default name: the machine's. */
  readonly screenshot: (
    name?: string
  ) => Effect.Effect<string, Effect.Error<ReturnType<ControlMethods["sendMonitorCommand"]>> | HostFileError>
}

/** The display methods of a guest. */
export const make = (guest: Guest): ScreenMethods => ({
  screenshot: Effect.fnUntraced(function* (name = guest.name) {
    const output = Path.resolve(guest.output)
    const file = Path.resolve(output, `${name}.png`)
    const hostError = (reason: string) => new HostFileError({ machine: guest.name, path: file, reason })
    if (!file.startsWith(output + Path.sep)) return yield* hostError(`is outside the output folder ${output}`)
    yield* Effect.mapError(guest.fs.makeDirectory(Path.dirname(file), { recursive: true }), (error) =>
      hostError(`cannot be written: ${error.message}`)
    )
    yield* onControl(guest, "taking a screenshot", (control) =>
      control.execute("screendump", { filename: file, format: "png" })
    )
    return file
  })
})
