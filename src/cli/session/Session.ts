/**
 * An interactive session: a prompt on the machines of a driver, with commands such as `.shell web`.
 *
 * The same session is at `vmtest repl`, `vmtest run -i`, `vmtest resume`, a test that `--pause-on-failure` keeps, and the prompts of
 * `nixos-test-driver`.
 *
 * **Example** (A session on standard input and output)
 *
 * ```ts
 * const left = Session.open({ live: () => ({ driver, context }) })
 * ```
 *
 * @since 0.1.0
 */
import type * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import type { DriverService } from "../../driver/Driver.ts"
import type { TestServices } from "../../driver/TestCase.ts"
import * as Terminal from "../../host/Terminal.ts"
import * as Image from "../../images/Image.ts"
import { historyFile } from "../internal/historyFile.ts"
import { type Left, prompt, type UnfinishedStatement } from "../Prompt.ts"
import * as Seat from "../Seat.ts"
import * as Commands from "./Commands.ts"

/** What a session is on. */
export interface Live {
  readonly driver: DriverService
  readonly context: Context.Context<TestServices>
}

/** How a session is opened. */
export interface SessionOptions extends Commands.Actions {
  /** What it is on; another one after `.restart`. */
  readonly live: () => Live
  /** Who is at it. Default: standard input and output. */
  readonly seat?: Seat.Seat | undefined
  /** More names for lines. */
  readonly names?: Readonly<Record<string, unknown>> | undefined
  /** Where lines are remembered. Default: the user's state folder. */
  readonly history?: string | undefined
  /** What follows each line. Default: nothing. */
  readonly after?: Effect.Effect<void> | undefined
  /** Whether `.detach` leaves it. Default false. */
  readonly detaches?: boolean | undefined
}

const isName = (name: string) => /^[A-Za-z_$][\w$]*$/.test(name)

/** How a line names a machine: `web`, or `machines["web-fork1"]`. */
export const nameOf = (machine: string): string => (isName(machine) ? machine : `machines[${JSON.stringify(machine)}]`)

const library = { Duration, Effect, Image, Schedule, Stream }

/** Opens a session, until its input ends or `.exit`. An error of a line is printed there, and fails nothing. */
export const open = Effect.fnUntraced(function* (options: SessionOptions): Effect.fn.Return<Left, UnfinishedStatement> {
  const { after = Effect.void, live, names = {}, seat = Seat.own() } = options
  const scope = () => {
    const { driver } = live()
    const machines = { ...driver.machines }
    const named = Object.fromEntries(Object.entries(machines).filter(([name]) => isName(name)))
    return { ...library, ...named, machines: driver.machines, driver, ...names }
  }
  return yield* prompt<TestServices>({
    ...{ scope, seat, detaches: options.detaches },
    history: options.history ?? (yield* historyFile),
    commands: Commands.make(() => live().driver, seat, options),
    run: (effect) =>
      Effect.suspend(() => Effect.provideContext(effect, live().context)).pipe(
        Effect.provideService(Terminal.UserTerminal, seat.open),
        Effect.ensuring(after)
      )
  })
})
