/** What the machines of a failed test can still say before they end: their journals, and what their screens show. */
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { disconnect } from "../../guest/Disconnect.ts"
import * as Journal from "../../guest/Journal.ts"
import { unguarded } from "../../guest/PollingCondition.ts"
import * as OutputFolder from "../../host/OutputFolder.ts"
import type * as MachineTree from "../../machine/MachineTree.ts"

/** How long all machines of a test together may take. A guest that answers takes well under a second. */
export const within = Duration.seconds(10)

/** How many entries of a journal are kept: the last ones. */
export const mostEntries = 20_000

const journalScript = `command -v journalctl >/dev/null || exit 127
${Journal.command({ lines: mostEntries, output: "short-precise" })}`

/** Writes the journal of a guest that has one to `<folder>/<machine>/journal.log`. */
const journal = Effect.fnUntraced(function* ({ running, spec }: MachineTree.Handle, folder: string) {
  const on = yield* running
  if (on === undefined) return
  const { exitCode, stdout } = yield* on.shell.execute(journalScript, { timeout: Duration.infinity })
  if (exitCode !== 0 || stdout === "") return
  yield* OutputFolder.place(folder, Path.join(folder, spec.name, "journal.log"), (file) =>
    Fs.writeFileSync(file, stdout)
  )
})

/** Writes a picture of a screen to `<below>/<machine>/screen.png` in the output folder of its driver. */
const screen = ({ machine, spec }: MachineTree.Handle, below: string) =>
  // A hypervisor without a screen, or one that has just ended, has no picture.
  Effect.ignore(unguarded(machine.screenshot(Path.join(below, spec.name, "screen"))))

/** Lets an effect fail, die or hang without more than a line about it. */
const bestEffort = <E>(what: string, effect: Effect.Effect<void, E>): Effect.Effect<ReadonlyArray<string>> =>
  // What runs at the end of a test cannot be interrupted, unless it says so.
  Effect.interruptible(disconnect(Effect.interruptible(effect))).pipe(
    Effect.as([]),
    Effect.timeoutOrElse({
      duration: within,
      orElse: () => Effect.succeed([`could not get ${what}: timed out after ${Duration.format(within)}`])
    }),
    Effect.interruptible,
    // A shell that was lost, or a folder that cannot be written to; the failure of the test matters, not this one.
    Effect.catchCause((cause) => {
      const why = Cause.prettyErrors(cause)[0]?.message.split("\n")[0]
      return Effect.succeed([`could not get ${what}${why === undefined ? "" : `: ${why}`}`])
    })
  )

/**
 * Gathers what the running machines can say, in at most {@link within}. `folder` is the output folder of their driver, or `below` it. Gives a line for each thing that could not be had;
 * never fails.
 */
export const gather = (
  handles: ReadonlyArray<MachineTree.Handle>,
  folder: string,
  below = ""
): Effect.Effect<ReadonlyArray<string>> =>
  Effect.forEach(
    handles,
    (handle) => {
      const { name, state } = handle.summary()
      const isOn = state === "ready" || state === "booting" || state === "paused"
      return Effect.all(
        [
          state === "ready" ? bestEffort(`the journal of ${name}`, journal(handle, folder)) : Effect.succeed([]),
          isOn ? bestEffort(`a picture of ${name}'s screen`, screen(handle, below)) : Effect.succeed([])
        ],
        { concurrency: "unbounded" }
      )
    },
    { concurrency: "unbounded" }
  ).pipe(Effect.map((lines) => lines.flat(2)))
