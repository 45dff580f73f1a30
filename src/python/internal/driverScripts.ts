/** The start scripts of a driver's machines, as a Python script uses them. */
import * as Effect from "effect/Effect"
import type { DriverService } from "../../driver/Driver.ts"
import type * as Places from "../../driver/Places.ts"
import { StatePlaces } from "../../driver/StatePlaces.ts"
import * as Image from "../../images/Image.ts"
import { NotAvailable } from "../PythonError.ts"
import { none, type StartScriptsService } from "../StartScripts.ts"

/** What NixOS calls the start script of a machine, in quotes or not; a command of another name makes the machine `machine`, as there. */
export const nameIn = (command: string): string =>
  /(?:^|[\s/'"=])run-([^\s/'"]+)-vm(?=['"\s;]|$)/.exec(command)?.[1] ?? "machine"

/** What can be done with the start scripts of machines that this driver has or makes. */
export const make = (
  driver: DriverService,
  places: Places.Places,
  vlans: ReadonlyArray<number>
): StartScriptsService => {
  const has = (machine: string) => places.startCommand(machine) !== undefined
  return {
    create: ({ command, environment, keepState, name = nameIn(command) }) =>
      Effect.gen(function* () {
        places.changeStarts(name, { env: environment })
        // Whether a reboot keeps it is said by each start.
        const machine = yield* driver
          .machine(name, {
            image: Image.startScript({ command, graphic: Image.hasDisplay() }),
            vlans: [...new Set([...vlans, ...places.vlans()])],
            ...{ autoStart: false, allowReboot: true }
          })
          .pipe(
            Effect.updateService(StatePlaces, (folders) =>
              keepState && folders !== undefined ? { ...folders, fresh: folders.reserve } : folders
            )
          )
        return machine.name
      }),
    beforeStart: (machine, { environment }) =>
      Effect.sync(() => {
        if (has(machine)) places.changeStarts(machine, { env: environment })
      }),
    commandOf: (machine) =>
      Effect.suspend(() => {
        const command = places.startCommand(machine)
        return command === undefined ? none.commandOf(machine) : Effect.succeed(command)
      }),
    setCommand: (machine, command) =>
      Effect.suspend((): Effect.Effect<void, unknown> => {
        if (!has(machine)) return none.setCommand(machine, command)
        if (command.trim() === "") {
          const reason = "a start command must not be empty"
          return Effect.fail(new NotAvailable({ what: `${machine}.start_command`, reason }))
        }
        return Effect.sync(() => places.changeStarts(machine, { command }))
      })
  }
}
