/**
 * The commands of an interactive session, such as `.machines` and `.shell web`.
 *
 * **Example** (The names of the commands)
 *
 * ```ts
 * const names = Commands.make(() => driver, Seat.own(), {}).map(({ name }) => name)
 * ```
 *
 * @since 0.1.0
 */
import * as NodePath from "node:path"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Observer from "../../actors/Observer.ts"
import type { DriverService } from "../../driver/Driver.ts"
import * as Overview from "../../driver/Overview.ts"
import * as Places from "../../driver/Places.ts"
import type { TestServices } from "../../driver/TestCase.ts"
import { near } from "../../host/Spelling.ts"
import type { Machine } from "../../machine/Machine.ts"
import * as TerminalReport from "../../report/TerminalReport.ts"
import * as Listing from "../internal/listing.ts"
import type { Command } from "../Prompt.ts"
import type { Seat } from "../Seat.ts"
import * as Picture from "./Picture.ts"
import * as Remote from "./RemoteDisplay.ts"
import * as TopView from "./TopView.ts"

/** A command of the prompt was given something that it cannot use. */
export class CommandMisused extends Schema.TaggedError<CommandMisused>()("CommandMisused", {
  command: Schema.String,
  reason: Schema.String
}) {
  override get message() {
    return `.${this.command}: ${this.reason}`
  }
}

/** What a session can do besides running lines. */
export interface Actions {
  /** Runs the body of the script, for `.test`. */
  readonly test?: (() => Effect.Effect<unknown, unknown, TestServices>) | undefined
  /** Gives the session new machines, for `.restart`; fails if the script cannot be used, and keeps the old ones then. */
  readonly restart?: Effect.Effect<string, { readonly message: string }> | undefined
}

type SessionCommand = Command<TestServices>

/** How many lines of a console are printed where there is no terminal. */
const consoleLines = 50

/** Finds the machine that a command is about. */
const finder = (driver: () => DriverService) => {
  const names = () => Object.keys(driver().machines)
  const pick = (command: string, words: ReadonlyArray<string>) =>
    Effect.suspend(() => {
      const all = names()
      const [first = all.length === 1 ? all[0] : undefined, ...others] = words
      const found = first !== undefined && all.includes(first) ? driver().machines[first] : undefined
      if (found !== undefined) return Effect.succeed({ machine: found, others })
      const there = all.length === 0 ? "there are no machines" : `the machines are ${all.join(", ")}`
      const meant = first === undefined ? undefined : near(first, all)
      const reason =
        first === undefined
          ? `needs the name of a machine; ${there}`
          : `there is no machine ${JSON.stringify(first)}${meant === undefined ? `; ${there}` : `; did you mean ${JSON.stringify(meant)}?`}`
      return Effect.fail(new CommandMisused({ command, reason }))
    })
  return { names, pick }
}

const machinesTable = (machines: ReadonlyArray<Overview.MachineOverview>): string =>
  machines.length === 0
    ? 'no machines; driver.machine("web", { image: Image.tiny() }) makes one'
    : Listing.table([
        ["MACHINE", "STATE", "IMAGE", "CPUS", "MEMORY", "ADDRESSES"],
        ...machines.map(({ cards, cpus, image, memory, name, state }) => [
          ...[name, state, image, String(cpus), Listing.size(memory)],
          cards.map(({ ipv4, ipv6, network }) => `${ipv4 ?? ipv6 ?? "none"} (${network})`).join(", ")
        ])
      ])

/** The name of the run that a driver belongs to. */
const runOf = (driver: DriverService): string => NodePath.basename(Places.of(driver)?.run ?? "")

/** What looks at machines. */
const lookingCommands = (driver: () => DriverService, seat: Seat): ReadonlyArray<SessionCommand> => {
  const { names: words, pick } = finder(driver)
  const onMachine = (
    name: string,
    help: string,
    run: (machine: Machine) => Effect.Effect<string | undefined, unknown, TestServices>
  ): SessionCommand => ({
    ...{ name, takes: "MACHINE", help, words },
    run: (given) => Effect.flatMap(pick(name, given), ({ machine }) => run(machine))
  })
  return [
    {
      name: "machines",
      help: "List the machines, with their states and addresses",
      run: () => Effect.map(Overview.machines(driver()), machinesTable)
    },
    {
      name: "tree",
      help: "Print the supervision tree",
      run: () => Effect.map(Observer.snapshot, Observer.format)
    },
    {
      name: "top",
      help: "Show the machines and the supervision tree live; q leaves",
      run: () => Effect.as(TopView.live(seat, runOf(driver())), undefined)
    },
    onMachine("console", "Connect to the serial console; Ctrl-] leaves", (machine) =>
      seat.isTerminal
        ? Effect.as(machine.consoleInteract(), undefined)
        : Effect.map(machine.getConsoleLog(), (log) => log.trimEnd().split("\n").slice(-consoleLines).join("\n"))
    ),
    onMachine("shell", "Open a root shell in the guest; Ctrl-] leaves", (machine) =>
      Effect.as(machine.shellInteract(), undefined)
    ),
    onMachine("screen", "Show the screen, here if the terminal shows pictures, else in a file", (machine) =>
      Effect.flatMap(machine.screenshot(), (file) => Picture.show(file, seat))
    ),
    onMachine("vnc", "Serve the screen, keyboard and mouse to a VNC viewer", Remote.vnc)
  ]
}

/** What changes machines. */
const changingCommands = (driver: () => DriverService, { restart, test }: Actions): ReadonlyArray<SessionCommand> => {
  const { names: words, pick } = finder(driver)
  const called = (name: string) => (/^[A-Za-z_$][\w$]*$/.test(name) ? name : `machines[${JSON.stringify(name)}]`)
  const commands: ReadonlyArray<SessionCommand | undefined> = [
    test && {
      name: "test",
      help: "Run the body of the script",
      run: () =>
        Effect.gen(function* () {
          const began = yield* Clock.currentTimeMillis
          yield* test()
          return `passed after ${TerminalReport.duration((yield* Clock.currentTimeMillis) - began)}`
        })
    },
    {
      name: "restart",
      takes: restart === undefined ? "MACHINE" : "[MACHINE]",
      help:
        restart === undefined
          ? "End a machine, and start it"
          : "End a machine, and start it; without a name, read the script again, with new machines",
      words,
      run: (given) =>
        given.length === 0 && restart !== undefined
          ? restart
          : Effect.gen(function* () {
              const { machine } = yield* pick("restart", given)
              yield* machine.crash()
              yield* machine.start()
              return `${machine.name} was started again`
            })
    },
    {
      name: "snapshot",
      takes: "MACHINE [NAME]",
      help: "Save a machine as it is now; restore(NAME) goes back to it",
      words,
      run: (given) =>
        Effect.gen(function* () {
          const { machine, others } = yield* pick("snapshot", given)
          const { name } = yield* machine.snapshot(...(others.length === 0 ? [] : [others.join(" ")]))
          return `saved; to go back: ${called(machine.name)}.restore(${JSON.stringify(name)})`
        })
    },
    {
      name: "fork",
      takes: "MACHINE [NAME]",
      help: "Make a machine that continues from this one",
      words,
      run: (given) =>
        Effect.gen(function* () {
          const { machine, others } = yield* pick("fork", given)
          const fork = yield* machine.fork(others[0] === undefined ? {} : { name: others[0] })
          return `it is ${called(fork.name)}`
        })
    }
  ]
  return commands.filter((command) => command !== undefined)
}

/** The commands of a session. */
export const make = (driver: () => DriverService, seat: Seat, actions: Actions): ReadonlyArray<SessionCommand> => [
  ...lookingCommands(driver, seat),
  ...changingCommands(driver, actions)
]
