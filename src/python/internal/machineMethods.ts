/** What a script asks of machines: each method with the arguments that it takes over the channel. Times are in seconds, null is no timeout. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { quote } from "../../host/Quote.ts"
import { NotAvailable } from "../PythonError.ts"
import { type Method, method } from "./method.ts"
import type { Seat } from "./seat.ts"
import * as Seats from "./seat.ts"

const Timeout = Schema.NullOr(Schema.Number)
const User = Schema.NullOr(Schema.String)
const Environment = Schema.Record(Schema.String, Schema.NullOr(Schema.String))

/** A timeout of zero is one look. */
const within = (timeout: number | null) => ({
  timeout: timeout === null ? Duration.infinity : Duration.seconds(Math.max(timeout, 0.001))
})

const as = (user: string | null) => (user === null ? {} : { user })

/** Once the guest can be reached that the script means. */
const there = <A, E>(seat: Seat, effect: Effect.Effect<A, E>): Effect.Effect<A, unknown> =>
  Effect.andThen(Seats.reached(seat), effect)

/** Once it runs, ready or not. */
const running = <A, E>(seat: Seat, effect: Effect.Effect<A, E>): Effect.Effect<A, unknown> =>
  Effect.andThen(Seats.begun(seat), effect)

const isBlank = (command: string) => command.trim() === ""

const said = (error: unknown): string =>
  typeof error === "object" && error !== null && "stdout" in error ? String(error.stdout) : ""

const execute = (seat: Seat, command: string, timeout: number | null) =>
  isBlank(command)
    ? Effect.succeed({ status: 0, output: "" })
    : seat.machine.execute(command, within(timeout)).pipe(
        Effect.map(({ exitCode, stdout }) => ({ status: exitCode, output: stdout })),
        // What `timeout` exits with.
        Effect.catchTag("CommandTimeout", ({ stdout }) => Effect.succeed({ status: 124, output: stdout }))
      )

const commands: Readonly<Record<string, Method<Seat>>> = {
  execute: method({ command: Schema.String, timeout: Timeout, lossy: Schema.Boolean }, (seat, args) => {
    const run = there(seat, execute(seat, args.command, args.timeout))
    // Whoever does not want the status may end the machine with the command.
    return args.lossy ? Effect.catch(run, (error) => Effect.succeed({ status: -1, output: said(error) })) : run
  }),
  start_command: method({ command: Schema.String, timeout: Timeout }, (seat, { command, timeout }) =>
    there(
      seat,
      Effect.asVoid(Effect.forkIn(Effect.exit(execute(seat, command, timeout)), seat.scope, { startImmediately: true }))
    )
  ),
  succeed: method({ command: Schema.String, timeout: Timeout }, (seat, { command, timeout }) =>
    there(seat, isBlank(command) ? Effect.succeed("") : seat.machine.succeed(command, within(timeout)))
  ),
  fail: method({ command: Schema.String, timeout: Timeout }, (seat, { command, timeout }) =>
    // The script's end knows what a command that has nothing to run comes to.
    there(
      seat,
      isBlank(command)
        ? Effect.succeed("")
        : // What takes too long has failed.
          Effect.catchTag(seat.machine.fail(command, within(timeout)), "CommandTimeout", ({ stdout }) =>
            Effect.succeed(stdout)
          )
    )
  ),
  wait_until_succeeds: method({ command: Schema.String, timeout: Timeout }, (seat, { command, timeout }) =>
    there(seat, seat.machine.waitUntilSucceeds(command, within(timeout)))
  ),
  wait_until_fails: method({ command: Schema.String, timeout: Timeout }, (seat, { command, timeout }) =>
    there(seat, seat.machine.waitUntilFails(command, within(timeout)))
  ),
  systemctl: method({ query: Schema.String, user: User }, (seat, { query, user }) =>
    there(
      seat,
      Effect.map(seat.machine.systemctl(query, as(user)), ({ exitCode, stdout }) => ({
        status: exitCode,
        output: stdout
      }))
    )
  ),
  wait_for_unit: method({ unit: Schema.String, user: User, timeout: Timeout }, (seat, { timeout, unit, user }) =>
    there(seat, seat.machine.waitForUnit(unit, { ...within(timeout), ...as(user) }))
  )
}

/** What a shell does not take as it is. */
const isExpanded = (path: string) => /[\s*?[\]{}~$`"'\\;&|<>()]/.test(path)

/** What `cp` makes a copy into. */
const isFolder = (seat: Seat, path: string) =>
  Effect.map(seat.machine.execute(`test -d ${quote(path)}`), ({ exitCode }) => exitCode === 0)

const baseOf = (path: string) => path.replace(/\/+$/, "").split("/").at(-1) ?? ""

const files: Readonly<Record<string, Method<Seat>>> = {
  wait_for_file: method({ path: Schema.String, timeout: Timeout }, (seat, { path, timeout }) =>
    there(
      seat,
      isExpanded(path)
        ? Effect.asVoid(seat.machine.waitUntilSucceeds(`test -e ${path}`, within(timeout)))
        : seat.machine.waitForFile(path, within(timeout))
    )
  ),
  wait_for_open_port: method(
    { port: Schema.Int, address: Schema.String, timeout: Timeout },
    (seat, { address, port, timeout }) => there(seat, seat.machine.waitForOpenPort(port, address, within(timeout)))
  ),
  wait_for_closed_port: method(
    { port: Schema.Int, address: Schema.String, timeout: Timeout },
    (seat, { address, port, timeout }) => there(seat, seat.machine.waitForClosedPort(port, address, within(timeout)))
  ),
  wait_for_open_unix_socket: method(
    { address: Schema.String, datagram: Schema.Boolean, timeout: Timeout },
    (seat, { address, datagram, timeout }) =>
      there(
        seat,
        seat.machine.waitForOpenUnixSocket(address, {
          ...within(timeout),
          type: datagram ? "datagram" : "stream"
        })
      )
  ),
  copy_from_machine: method({ source: Schema.String, folder: Schema.String }, (seat, { folder, source }) =>
    there(seat, folder === "" ? seat.machine.copyFromMachine(source) : seat.machine.copyFromMachine(source, folder))
  ),
  copy_from_host: method({ source: Schema.String, target: Schema.String }, (seat, { source, target }) =>
    there(
      seat,
      Effect.flatMap(isFolder(seat, target), (into) =>
        seat.machine.copyFromHost(source, into ? `${target.replace(/\/+$/, "")}/${baseOf(source)}` : target)
      )
    )
  ),
  /** Without its mode. */
  write_from_host: method({ source: Schema.String, target: Schema.String }, (seat, { source, target }) =>
    there(
      seat,
      Effect.gen(function* () {
        // The mode that `>` gives a new file, or leaves an old one.
        const look = `stat -c %a ${quote(target)} 2>/dev/null || printf %o $((0666 & ~$(umask)))`
        const mode = (yield* seat.machine.succeed(look)).trim()
        yield* seat.machine.copyFromHost(source, target)
        yield* seat.machine.succeed(`chmod ${mode} ${quote(target)}`)
      })
    )
  )
}

const life: Readonly<Record<string, Method<Seat>>> = {
  start: method(
    { allowReboot: Schema.Boolean, forget: Schema.optionalKey(Schema.Boolean), environment: Environment },
    (seat, { allowReboot, environment, forget }) =>
      Effect.andThen(
        forget === true ? seat.machine.crash() : Effect.void,
        Seats.start(seat, { allowReboot, environment })
      )
  ),
  launched: method({}, (seat) => Seats.launched(seat)),
  connect: method({ timeout: Timeout }, (seat) => there(seat, seat.machine.start())),
  disconnect: method({}, Seats.disconnected),
  is_booted: method({}, (seat) => Effect.sync(() => Seats.isBooted(seat))),
  is_connected: method({}, (seat) => Effect.sync(() => Seats.isConnected(seat))),
  exit_code: method({}, (seat) => Effect.sync(() => Seats.exitCode(seat))),
  pid: method({}, (seat) => Effect.map(seat.places.pid(seat.machine.name), (pid) => pid ?? null)),
  shutdown: method({ timeout: Timeout }, (seat, { timeout }) =>
    Seats.isBooted(seat) ? there(seat, seat.machine.shutdown(within(timeout))) : Effect.void
  ),
  wait_for_shutdown: method({ timeout: Timeout }, (seat, { timeout }) =>
    Effect.andThen(seat.machine.waitForShutdown(within(timeout)), Seats.hasRun(seat))
  ),
  /** However it ends. */
  wait_for_end: method({ timeout: Timeout }, (seat, { timeout }) => seat.machine.waitForShutdown(within(timeout))),
  crash: method({}, (seat) => seat.machine.crash()),
  release: method({}, (seat) => seat.machine.crash()),
  reboot: method({}, (seat) =>
    running(seat, seat.mayReboot ? Seats.rebooting(seat) : seat.machine.sendKey("ctrl-alt-delete"))
  ),
  switch_root: method({ timeout: Timeout }, (seat) => there(seat, seat.machine.switchRoot({ timeout: "15 minutes" }))),
  block: method({}, (seat) => running(seat, seat.machine.block())),
  unblock: method({}, (seat) => running(seat, seat.machine.unblock())),
  forward_port: method({ host: Schema.Int, guest: Schema.Int }, (seat, { guest, host }) =>
    running(seat, Effect.asVoid(seat.machine.forwardPort({ hostPort: host, guestPort: guest })))
  ),
  start_command_of: method({}, ({ machine, scripts }) => scripts.commandOf(machine.name)),
  set_start_command: method({ command: Schema.String }, ({ machine, scripts }, { command }) =>
    scripts.setCommand(machine.name, command)
  )
}

/** Key codes, which only QEMU's monitor takes. */
const isCode = (key: string) => /(^|-)0x[0-9a-f]+($|-)/i.test(key)

const monitor = (seat: Seat, line: string) =>
  seat.machine.sendMonitorCommand(line).pipe(
    // The monitor itself prints its mistakes, and scripts read them.
    Effect.catchIf(
      (error) => error._tag === "QmpError" && error.class === "HumanMonitor",
      (error) => Effect.succeed("desc" in error ? error.desc : "")
    )
  )

const devices: Readonly<Record<string, Method<Seat>>> = {
  send_monitor_command: method({ line: Schema.String }, (seat, { line }) => running(seat, monitor(seat, line))),
  qmp: method(
    { command: Schema.String, arguments: Schema.Record(Schema.String, Schema.Unknown) },
    (seat, { arguments: args, command }) => running(seat, seat.machine.qmp(command, args))
  ),
  next_qmp_event: method({ timeout: Schema.Number }, (seat, { timeout }) => Seats.nextEvent(seat, timeout * 1000)),
  send_key: method({ key: Schema.String }, (seat, { key }) =>
    running(seat, isCode(key) ? Effect.asVoid(monitor(seat, `sendkey ${key}`)) : seat.machine.sendKey(key))
  ),
  send_chars: method({ chars: Schema.String }, (seat, { chars }) => running(seat, seat.machine.sendChars(chars))),
  send_console: method({ chars: Schema.String }, (seat, { chars }) => running(seat, seat.machine.sendConsole(chars))),
  console_lines: method(
    { after: Schema.Int, boot: Schema.Int, partial: Schema.String, timeout: Timeout },
    (seat, { timeout, ...from }) =>
      Seats.consoleLines(seat, { ...from, timeout: timeout === null ? Number.POSITIVE_INFINITY : timeout * 1000 })
  ),
  console_log: method({}, (seat) => (seat.console.boot === 0 ? Effect.succeed("") : seat.machine.getConsoleLog())),
  screenshot: method({ name: Schema.String }, (seat, { name }) => running(seat, seat.machine.screenshot(name))),
  get_screen_text: method({}, (seat) => running(seat, seat.machine.getScreenText())),
  get_screen_text_variants: method({}, (seat) => running(seat, seat.machine.getScreenTextVariants())),
  wait_for_x: method({ timeout: Timeout }, (seat, { timeout }) => there(seat, seat.machine.waitForX(within(timeout)))),
  get_window_names: method({}, (seat) => there(seat, seat.machine.getWindowNames())),
  shell_interact: method({ address: Schema.NullOr(Schema.String) }, (seat, { address }) =>
    address === null
      ? there(seat, seat.machine.shellInteract())
      : Effect.fail(
          new NotAvailable({
            what: "shell_interact(address)",
            reason: "vmtest connects the shell only to the terminal; call it without an address"
          })
        )
  ),
  console_interact: method({}, (seat) => running(seat, seat.machine.consoleInteract()))
}

/** The methods of a machine, by their names on the channel. */
export const machineMethods: Readonly<Record<string, Method<Seat>>> = { ...commands, ...files, ...life, ...devices }
